//! Whose pages may make a browser ask us for something.
//!
//! A browser sends a page's origin with every request that may change something, and with every WebSocket. It is ours
//! where it names the host that the request was sent to; others have to be named in the settings. Programs that are no
//! browsers send none: robots, curl, a proxy's own probes.

use http::header::{HOST, ORIGIN, UPGRADE};
use http::{HeaderMap, Method};

const SEC_FETCH_SITE: &str = "sec-fetch-site";
const X_FORWARDED_HOST: &str = "x-forwarded-host";

/// Origins besides our own: `https://synapse.factory, http://10.0.0.9:5173`.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

/// On a request that a page of another origin makes: it is answered with a refusal.
#[derive(Clone, Copy, Debug)]
pub struct ForeignOrigin;

impl std::str::FromStr for Origins {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let items = text.split(',').map(|item| item.trim().trim_end_matches('/')).filter(|item| !item.is_empty());
        let origin = |item: &str| {
            let (scheme, authority) = item.split_once("://")?;
            let plain = !authority.is_empty() && !authority.contains(['/', '?', '#', '@', ' ']);
            (matches!(scheme, "http" | "https") && plain).then(|| item.to_ascii_lowercase())
        };
        items.map(|item| origin(item).ok_or(())).collect::<Result<_, _>>().map(Self)
    }
}

impl Origins {
    /// `behind_proxy`: the peer is one of ours, and knows under which name it was asked.
    pub fn allow(&self, method: &Method, headers: &HeaderMap, behind_proxy: bool) -> bool {
        let changes_nothing = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !headers.contains_key(UPGRADE);
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if changes_nothing || !headers.contains_key(ORIGIN) {
            return true;
        }
        // No page can write this one, and a proxy in between changes nothing about it.
        if text(SEC_FETCH_SITE) == Some("same-origin") {
            return true;
        }
        let Some(origin) = text(ORIGIN.as_str()).map(str::to_ascii_lowercase) else { return false };
        let hosts = [text(HOST.as_str()), text(X_FORWARDED_HOST).filter(|_| behind_proxy)];
        self.0.contains(&origin) || hosts.into_iter().flatten().any(|host| names(&origin, host))
    }
}

/// Whether an origin is the host that was asked, whatever the scheme: one that ends TLS is in front of us.
fn names(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let usual = if scheme == "https" { ":443" } else { ":80" };
    let host = host.to_ascii_lowercase();
    authority == host || format!("{authority}{usual}") == host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(listed: &str, method: Method, behind_proxy: bool, headers: &[(&'static str, &str)]) -> bool {
        let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        listed.parse::<Origins>().unwrap().allow(&method, &map, behind_proxy)
    }

    #[test]
    fn a_page_of_another_host_changes_nothing_unless_it_is_listed() {
        let (host, evil) = (("host", "edge.factory:8080"), ("origin", "https://evil.example"));
        let (post, get) = (Method::POST, Method::GET);
        for (method, headers, expected) in [
            (&post, vec![host], true),
            (&post, vec![host, ("origin", "http://edge.factory:8080")], true),
            (&post, vec![host, ("origin", "http://EDGE.factory:8080")], true),
            (&post, vec![("host", "edge.factory"), ("origin", "https://edge.factory")], true),
            (&post, vec![("host", "edge.factory:443"), ("origin", "https://edge.factory")], true),
            (&post, vec![("host", "edge.factory:80"), ("origin", "https://edge.factory")], false),
            (&post, vec![host, evil], false),
            (&post, vec![host, ("origin", "null")], false),
            (&post, vec![host, ("origin", "http://edge.factory:8081")], false),
            (&post, vec![host, ("origin", "http://edge.factory:8080.evil.example")], false),
            (&post, vec![evil], false),
            (&Method::DELETE, vec![host, evil], false),
            // A page may look at what everybody may; the browser keeps the answer from it.
            (&get, vec![host, evil], true),
            (&get, vec![host, evil, ("upgrade", "websocket")], false),
            (&get, vec![host, ("upgrade", "websocket")], true),
            // Behind a proxy that says another host than the browser did.
            (&post, vec![("host", "10.0.0.9:8080"), ("origin", "https://ui.factory"), ("sec-fetch-site", "same-origin")], true),
            (&post, vec![("host", "10.0.0.9:8080"), ("origin", "https://ui.factory"), ("sec-fetch-site", "cross-site")], false),
        ] {
            assert_eq!(allowed("", method.clone(), false, &headers), expected, "{method} {headers:?}");
        }
        let listed = "https://ui.factory/, http://10.0.0.9:5173";
        assert!(allowed(listed, post.clone(), false, &[host, ("origin", "https://UI.factory")]));
        assert!(allowed(listed, post.clone(), false, &[host, ("origin", "http://10.0.0.9:5173")]));
        assert!(!allowed(listed, post.clone(), false, &[host, evil]));
        let forwarded = [host, ("origin", "https://ui.factory"), ("x-forwarded-host", "ui.factory")];
        assert!(allowed("", post.clone(), true, &forwarded));
        assert!(!allowed("", post, false, &forwarded), "everybody can write this header");
    }

    #[test]
    fn what_is_no_origin_cannot_be_listed() {
        for bad in ["ui.factory", "ftp://ui.factory", "https://", "https://ui.factory/path", "*"] {
            assert!(bad.parse::<Origins>().is_err(), "{bad}");
        }
    }
}
