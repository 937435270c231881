//! Files as browsers and viewers ask for them: with a name, from pages of other origins, in ranges from the end, for hours.

use keystone_edge::blobs::{ObjectKey, PutFacts};
use keystone_edge::domain::EpisodeId;
use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::harness::edge::TestEdge;
use crate::storage::Shelf;

const PAGE: &str = "https://viewer.example";

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// As a page of another origin asks.
async fn ask(edge: &TestEdge, method: &str, path: &str, headers: &[(&'static str, &str)]) -> Response {
    let request = headers.iter().fold(edge.request("", method, path), |request, (name, value)| request.header(*name, *value));
    request.header("origin", PAGE).send().await.unwrap()
}

/// The path of a link for viewers, made by this login.
async fn viewer_path(shelf: &Shelf, token: &str) -> String {
    let (status, link) = shelf.edge.send_as(token, "GET", &format!("/api/v1/episodes/{}/viewer-link", shelf.episode), Value::Null).await;
    assert_eq!(status, 200, "{link}");
    link["url"].as_str().unwrap().strip_prefix(&shelf.edge.base).unwrap().to_owned()
}

async fn signed_path(shelf: &Shelf) -> String {
    let (_, link) = shelf.edge.get(&format!("/api/v1/episodes/{}/presign", shelf.episode)).await;
    link["url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_file_has_a_name_and_head_answers_as_get_without_the_bytes() {
    let shelf = Shelf::of(1000).await;
    let name = shelf.key.rsplit('/').next().unwrap();
    for path in [signed_path(&shelf).await, viewer_path(&shelf, &shelf.edge.admin).await] {
        for headers in [&[][..], &[("range", "bytes=-10")][..]] {
            let (get, head) = (ask(&shelf.edge, "GET", &path, headers).await, ask(&shelf.edge, "HEAD", &path, headers).await);
            assert_eq!(get.status(), head.status(), "{path}");
            for header in ["content-length", "content-range", "etag", "accept-ranges", "content-type", "content-disposition"] {
                assert_eq!(get.headers().get(header), head.headers().get(header), "{header}");
            }
            assert_eq!(text(get.headers(), "content-disposition"), format!("attachment; filename=\"{name}\"; filename*=UTF-8''{name}"));
            let length: usize = text(head.headers(), "content-length").parse().unwrap();
            assert_eq!((head.bytes().await.unwrap().len(), get.bytes().await.unwrap().len()), (0, length));
        }
    }
    // By a login it is shown, and is named as well.
    let path = shelf.path("object", &shelf.key);
    let answer = shelf.edge.request(&shelf.edge.admin, "HEAD", &path).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), text(answer.headers(), "content-length"), text(answer.headers(), "content-disposition")),
        (200, "1000", format!("inline; filename=\"{name}\"; filename*=UTF-8''{name}").as_str())
    );
    assert_eq!(shelf.edge.request("", "HEAD", &path).send().await.unwrap().status(), 401);
    assert_eq!(shelf.edge.request(&shelf.edge.admin, "HEAD", "/api/v1/orders").send().await.unwrap().status(), 404, "as before");
}

#[tokio::test]
async fn pages_of_other_origins_read_what_a_link_opens_and_nothing_else() {
    let shelf = Shelf::of(1000).await;
    let (signed, viewer) = (signed_path(&shelf).await, viewer_path(&shelf, &shelf.edge.admin).await);
    let expired = signed.replace("dl_token=", "dl_token=x");
    let wrong = viewer.replace("/recording/", "/recording/x");
    for (path, status) in [(&signed, 206), (&viewer, 206), (&expired, 401), (&wrong, 401)] {
        let preflight = ask(
            &shelf.edge,
            "OPTIONS",
            path,
            &[("access-control-request-method", "GET"), ("access-control-request-headers", "range,if-range")],
        )
        .await;
        assert_eq!((preflight.status().as_u16(), text(preflight.headers(), "access-control-allow-origin")), (204, "*"), "{path}");
        assert_eq!(text(preflight.headers(), "access-control-allow-methods"), "GET, HEAD");
        let allowed = text(preflight.headers(), "access-control-allow-headers").to_lowercase();
        assert!(allowed.contains("range") && allowed.contains("if-range") && !allowed.contains("authorization"), "{allowed}");
        let answer = ask(&shelf.edge, "GET", path, &[("range", "bytes=0-7")]).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(text(answer.headers(), "access-control-allow-origin"), "*", "{path}");
        assert_eq!(answer.headers().get("access-control-allow-credentials"), None);
        let seen = text(answer.headers(), "access-control-expose-headers");
        for header in ["Content-Range", "Accept-Ranges", "Content-Length", "ETag"] {
            assert!(seen.contains(header), "{header}: {seen}");
        }
    }
    // Routes that a login opens: the same file among them.
    let object = shelf.path("object", &shelf.key);
    for path in [&object, "/api/v1/orders", "/api/v1/health", &format!("/api/v1/episodes/{}/viewer-link", shelf.episode), "/nothing"] {
        for method in ["GET", "OPTIONS"] {
            let asked = shelf.edge.request(&shelf.edge.admin, method, path).header("origin", PAGE);
            let answer = asked.header("access-control-request-method", "GET").send().await.unwrap();
            assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("access-control-")), "{method} {path}");
            assert_ne!(answer.status(), 204, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_link_for_viewers_says_where_it_leads() {
    let shelf = Shelf::of(10).await;
    let path = format!("/api/v1/episodes/{}/viewer-link", shelf.episode);
    let (status, link) = shelf.edge.get(&path).await;
    assert_eq!(status, 200, "{link}");
    let public_id = shelf.edge.get(&format!("/api/v1/episodes/{}", shelf.episode)).await.1["episode_id"].as_str().unwrap().to_owned();
    let url = link["url"].as_str().unwrap();
    assert!(url.starts_with(&shelf.edge.base) && url.ends_with(&format!("/{public_id}.mcap")), "{url}");
    for (key, page) in [("foxglove_url", "https://app.foxglove.dev/~/view"), ("lichtblick_url", "http://lichtblick.test/")] {
        let opened: reqwest::Url = link[key].as_str().unwrap().parse().unwrap();
        assert_eq!(opened.as_str().split('?').next(), Some(page));
        let query: Vec<_> = opened.query_pairs().into_owned().collect();
        assert_eq!(query, [("ds".into(), "remote-file".into()), ("ds.url".into(), url.to_owned())], "{key}");
    }
    let expires = link["expires_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let lasts = (expires - chrono::Utc::now()).num_seconds();
    assert!((14_300..=14_400).contains(&lasts), "{lasts} s");
    // Behind what ends TLS.
    let asked = shelf.edge.request(&shelf.edge.admin, "GET", &path).header("x-forwarded-proto", "https").header("host", "edge.factory");
    let behind: Value = asked.send().await.unwrap().json().await.unwrap();
    assert!(behind["url"].as_str().unwrap().starts_with("https://edge.factory/api/v1/episodes/"), "{behind}");
    assert_eq!(shelf.edge.send_as("", "GET", &path, Value::Null).await.0, 401);
    assert_eq!(shelf.edge.get("/api/v1/episodes/99/viewer-link").await.0, 404);
    assert_eq!(shelf.edge.get("/api/v1/episodes/0/viewer-link").await.0, 400);
}

#[tokio::test]
async fn a_viewer_reads_a_recording_from_its_end_and_goes_on_where_it_stopped() {
    let shelf = Shelf::of(3 << 20).await;
    let size = 3 << 20;
    let path = viewer_path(&shelf, &shelf.edge.admin).await;
    let byte = |at: usize| (at % 251) as u8;
    let first = ask(&shelf.edge, "GET", &path, &[("range", "bytes=0-7")]).await;
    assert_eq!(text(first.headers(), "content-range"), format!("bytes 0-7/{size}"));
    let etag = text(first.headers(), "etag").to_owned();
    // The magic and the footer at the end, then what they name.
    for (range, start, length) in
        [("bytes=-37", size - 37, 37), ("bytes=3145000-", 3_145_000, size - 3_145_000), ("bytes=1048576-2097151", 1 << 20, 1 << 20)]
    {
        let part = ask(&shelf.edge, "GET", &path, &[("range", range), ("if-range", &etag)]).await;
        assert_eq!((part.status().as_u16(), text(part.headers(), "etag")), (206, etag.as_str()), "{range}");
        let bytes = part.bytes().await.unwrap();
        assert_eq!((bytes.len(), bytes[0], bytes[length - 1]), (length, byte(start), byte(start + length - 1)), "{range}");
    }
    // What was begun with another file, and several ranges at once, are answered whole.
    for headers in [[("range", "bytes=5-"), ("if-range", "\"another\"")], [("range", "bytes=0-1,5-9"), ("if-range", &etag)]] {
        let whole = ask(&shelf.edge, "GET", &path, &headers).await;
        assert_eq!((whole.status().as_u16(), whole.bytes().await.unwrap().len()), (200, size), "{headers:?}");
    }
    let beyond = ask(&shelf.edge, "GET", &path, &[("range", &format!("bytes={size}-"))]).await;
    assert_eq!((beyond.status().as_u16(), text(beyond.headers(), "content-range")), (416, format!("bytes */{size}").as_str()));
    assert_eq!(ask(&shelf.edge, "GET", &path, &[("if-none-match", &etag)]).await.status(), 304);
}

#[tokio::test]
async fn a_link_for_viewers_opens_one_episode_under_one_name() {
    let shelf = Shelf::of(10).await;
    let path = viewer_path(&shelf, &shelf.edge.admin).await;
    let get = async |path: &str| {
        let (status, answer) = shelf.edge.send_as("", "GET", path, Value::Null).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(get(&path).await.0, 200);
    let (folder, name) = path.rsplit_once('/').unwrap();
    let stem = name.strip_suffix(".mcap").unwrap();
    for other in ["x.mcap", &format!("{stem}.MCAP"), stem, &format!("..%2F{name}"), &format!("{name}%00"), "%ff.mcap", "recording.mcap"] {
        assert_eq!(get(&format!("{folder}/{other}")).await, (404, "object_not_found".into()), "{other}");
    }
    for other in [format!("{path}/"), format!("{path}/{name}"), folder.to_owned()] {
        assert!(matches!(get(&other).await.0, 301 | 404), "{other}");
    }
    let invalid = (401, "download_token_invalid".to_owned());
    let id = shelf.episode;
    for other in [format!("/episodes/{}/", id + 1), format!("/episodes/0{id}/"), format!("/episodes/+{id}/"), "/episodes/x/".to_owned()] {
        assert_eq!(get(&path.replace(&format!("/episodes/{id}/"), &other)).await, invalid, "{other}");
    }
    let token = folder.rsplit('/').next().unwrap();
    let signed = signed_path(&shelf).await;
    let signed_token = signed.split("dl_token=").nth(1).unwrap().split('&').next().unwrap();
    for other in [&shelf.edge.admin, signed_token, "x"] {
        assert_eq!(get(&path.replace(token, other)).await, invalid, "another kind of token");
    }
    // And it is none of those.
    assert_eq!(get(&signed.replace(signed_token, token)).await, invalid);
    assert_eq!(shelf.edge.send_as(token, "GET", "/api/v1/orders", Value::Null).await.0, 401);
    assert_eq!(get(&format!("/api/v1/orders?dl_token={token}")).await.0, 401);
    // A header that is no login takes nothing away.
    assert_eq!(shelf.edge.request("x", "GET", &path).send().await.unwrap().status(), 200);
    assert_eq!(shelf.edge.send_as("", "POST", &path, json!({})).await.0, 401);
}

#[tokio::test]
async fn the_gate_is_asked_at_every_read_of_a_viewer() {
    let shelf = Shelf::of(10).await;
    let collector = shelf.edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
    let (admins, collectors) = (viewer_path(&shelf, &shelf.edge.admin).await, viewer_path(&shelf, &collector).await);
    let heard = async |path: &str| {
        let answer = ask(&shelf.edge, "GET", path, &[("range", "bytes=-4")]).await;
        assert!(answer.headers().get("access-control-allow-origin").is_some(), "a page reads why");
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.map_or_else(|_| String::new(), |body| body["code"].as_str().unwrap().to_owned()),
        )
    };
    let read = (206, String::new());
    assert_eq!((heard(&admins).await, heard(&collectors).await), (read.clone(), read.clone()));
    shelf.judge("failed").await;
    assert_eq!(heard(&admins).await, (409, "episode_blocked".into()));
    assert_eq!(shelf.edge.get(&format!("/api/v1/episodes/{}/viewer-link", shelf.episode)).await.0, 409);
    shelf.judge("rejected").await;
    assert_eq!((heard(&admins).await, heard(&collectors).await), (read.clone(), (403, "forbidden".into())));
    shelf.judge("approved").await;
    assert_eq!(heard(&collectors).await, read);
    let key = ObjectKey::new(shelf.key.as_str()).unwrap();
    shelf.edge.objects.blobs.put(&key, bytes::Bytes::from_static(b"eleven bytes"), &PutFacts::default()).await.unwrap();
    assert_eq!(heard(&admins).await, (409, "object_replaced".into()));
    let client = shelf.edge.database.pool.get().await.unwrap();
    client.execute("delete from episodes where id = $1", &[&EpisodeId(shelf.episode).0]).await.unwrap();
    assert_eq!(heard(&admins).await, (404, "object_not_found".into()));
}

#[tokio::test]
async fn a_link_for_viewers_ends() {
    let edge = TestEdge::start_with(|settings| settings.viewer_lifetime = std::time::Duration::from_secs(1)).await;
    let shelf = Shelf::new(edge, 10).await;
    let path = viewer_path(&shelf, &shelf.edge.admin).await;
    crate::harness::until("the link to expire", async || {
        shelf.edge.send_as("", "GET", &path, Value::Null).await.1["code"] == json!("download_token_expired")
    })
    .await;
}
