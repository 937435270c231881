//! The host that a request was sent to.

use axum::http::HeaderMap;
use axum::http::header::HOST;

/// `host` of `host:port`, where it can be one.
pub fn host_of(authority: &str) -> Option<&str> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.len() <= 253 && host.chars().all(plain),
    };
    fits.then_some(host)
}

/// The host that was asked, as far as it can be one, with the port that was named.
pub fn asked_host(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|asked| host_of(asked).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_taken_from_a_header_only_where_it_can_be_one() {
        for (authority, host) in [
            ("edge.factory:8080", Some("edge.factory")),
            ("10.0.0.7", Some("10.0.0.7")),
            ("[::1]:8080", Some("[::1]")),
            ("edge/../x", None),
            ("a b", None),
            ("", None),
            (":8080", None),
            ("edge\"", None),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }
}
