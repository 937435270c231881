//! Signatures of version 1 as OSS checks them. Pure.
//!
//! What is signed is what a request means, not how it was written: the key and the parameters are as they are after decoding.
//! Of the parameters only those are signed that say which resource is meant ([`SUB_RESOURCES`]): `max-parts` is none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Parameters that are signed. The vendor's clients and its service have the same list.
const SUB_RESOURCES: &[&str] = &[
    "accessPoint",
    "accessPointPolicy",
    "acl",
    "append",
    "asyncFetch",
    "bucketArchiveDirectRead",
    "bucketInfo",
    "callback",
    "callback-var",
    "cname",
    "comp",
    "continuation-token",
    "cors",
    "delete",
    "encryption",
    "endTime",
    "group",
    "httpsConfig",
    "inventory",
    "inventoryId",
    "lifecycle",
    "link",
    "live",
    "location",
    "logging",
    "metaQuery",
    "objectInfo",
    "objectMeta",
    "partNumber",
    "policy",
    "position",
    "publicAccessBlock",
    "qos",
    "qosInfo",
    "qosRequester",
    "redundancyTransition",
    "referer",
    "regionList",
    "replication",
    "replicationLocation",
    "replicationProgress",
    "requestPayment",
    "requesterQosInfo",
    "resourceGroup",
    "resourcePool",
    "resourcePoolBuckets",
    "resourcePoolInfo",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "security-token",
    "sequential",
    "startTime",
    "stat",
    "status",
    "style",
    "styleName",
    "symlink",
    "tagging",
    "transferAcceleration",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "vod",
    "website",
    "worm",
    "wormExtend",
    "wormId",
    "x-oss-ac-forward-allow",
    "x-oss-ac-source-ip",
    "x-oss-ac-subnet-mask",
    "x-oss-ac-vpc-id",
    "x-oss-access-point-name",
    "x-oss-async-process",
    "x-oss-process",
    "x-oss-redundancy-transition-taskid",
    "x-oss-request-payer",
    "x-oss-target-redundancy-type",
    "x-oss-traffic-limit",
    "x-oss-write-get-object-response",
];

/// What a request says, decoded.
#[derive(Debug, Clone, Default)]
pub struct Signed<'a> {
    pub method: &'a str,
    pub content_md5: &'a str,
    pub content_type: &'a str,
    pub date: &'a str,
    /// Names in small letters; others than `x-oss-…` are not signed.
    pub headers: &'a [(String, String)],
    pub bucket: &'a str,
    pub key: &'a str,
    pub query: &'a [(String, String)],
}

impl Signed<'_> {
    pub fn text(&self) -> String {
        let mut headers: Vec<_> = self.headers.iter().filter(|(name, _)| name.starts_with("x-oss-")).collect();
        headers.sort_by_key(|(name, _)| name);
        let headers: String = headers.into_iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let mut query: Vec<_> = self.query.iter().filter(|(name, _)| SUB_RESOURCES.contains(&&**name)).collect();
        query.sort_by_key(|(name, _)| name);
        let query = query.into_iter().map(|(name, value)| if value.is_empty() { name.clone() } else { format!("{name}={value}") });
        let query = query.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        let resource = if self.bucket.is_empty() { "/".to_owned() } else { format!("/{}/{}", self.bucket, self.key) };
        let Self { method, content_md5, content_type, date, .. } = self;
        format!("{method}\n{content_md5}\n{content_type}\n{date}\n{headers}{resource}{mark}{query}")
    }

    #[cfg(test)]
    fn by(&self, secret: &str) -> String {
        STANDARD.encode(mac(secret, &self.text()).finalize().into_bytes())
    }

    /// Whether a signature is the one of this secret, in a time that does not tell how much of it is right.
    pub fn is_signed(&self, secret: &str, signature: &str) -> bool {
        STANDARD.decode(signature).is_ok_and(|given| mac(secret, &self.text()).verify_slice(&given).is_ok())
    }
}

fn mac(secret: &str, text: &str) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("a key of any length is one");
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The example in the vendor's manual.
    #[test]
    fn the_example_of_the_vendor_is_signed_as_there() {
        let headers = pairs(&[
            ("x-oss-meta-author", "foo@bar.com"),
            ("host", "oss-example.oss-cn-hangzhou.aliyuncs.com"),
            ("x-oss-magic", "abracadabra"),
        ]);
        let signed = Signed {
            method: "PUT",
            content_md5: "ODBGOERFMDMzQTczRUY3NUE3NzA5QzdFNUYzMDQxNEM=",
            content_type: "text/html",
            date: "Thu, 17 Nov 2005 18:49:58 GMT",
            headers: &headers,
            bucket: "oss-example",
            key: "nelson",
            query: &[],
        };
        assert_eq!(signed.by("OtxrzxIsfpFjA7SwPzILwy8Bw21TLhquhboDYROV"), "26NBxoKdsyly4EDv6inkoDft/yA=");
        assert!(signed.is_signed("OtxrzxIsfpFjA7SwPzILwy8Bw21TLhquhboDYROV", "26NBxoKdsyly4EDv6inkoDft/yA="));
        assert!(!signed.is_signed("another", "26NBxoKdsyly4EDv6inkoDft/yA=") && !signed.is_signed("another", "not base64"));
    }

    #[test]
    fn only_what_names_the_resource_is_signed_of_a_query() {
        let query = pairs(&[("uploadId", "u 1"), ("max-parts", "1"), ("partNumber", "7"), ("encoding-type", "url"), ("uploads", "")]);
        let signed = Signed { method: "GET", date: "now", bucket: "b", key: "a b+工.mcap", query: &query, ..Signed::default() };
        assert_eq!(signed.text(), "GET\n\n\nnow\n/b/a b+工.mcap?partNumber=7&uploadId=u 1&uploads");
        let everything = Signed { method: "GET", date: "now", ..Signed::default() };
        assert_eq!(everything.text(), "GET\n\n\nnow\n/");
        assert!(SUB_RESOURCES.is_sorted_by(|a, b| a < b), "each once");
    }
}
