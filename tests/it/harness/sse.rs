//! A client of server-sent events.

use std::time::Duration;

use serde_json::Value;

pub struct Sse {
    response: reqwest::Response,
    unread: Vec<u8>,
    /// The last one that was received.
    pub id: String,
    pub comments: usize,
}

/// An event as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// `message` where it has none.
    pub name: String,
    pub data: String,
    pub id: Option<String>,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("JSON")
    }

    pub fn position(&self) -> i64 {
        self.id.as_deref().and_then(|id| id.parse().ok()).expect("a position")
    }
}

impl Sse {
    pub async fn open(request: reqwest::RequestBuilder) -> Self {
        Self::of(request.send().await.expect("an answer"))
    }

    pub fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: vec![], id: String::new(), comments: 0 }
    }

    /// The next event as it came, in time; none where the stream ended.
    pub async fn told(&mut self) -> Option<Told> {
        tokio::time::timeout(Duration::from_secs(20), self.read()).await.expect("an event in time")
    }

    async fn read(&mut self) -> Option<Told> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                let block = std::str::from_utf8(&block).expect("UTF-8");
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
                self.comments += block.lines().filter(|line| line.starts_with(':')).count();
                let (id, name, data) = (field("id:"), field("event:"), field("data:"));
                if let Some(id) = &id {
                    self.id.clone_from(id);
                }
                if let Some(data) = data {
                    return Some(Told { name: name.unwrap_or_else(|| "message".to_owned()), data, id });
                }
                continue;
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.unread.extend_from_slice(&chunk),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Name and data of the next event.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        let told = self.told().await?;
        let data = told.json();
        Some((told.name, data))
    }

    pub async fn wait_for(&mut self, what: &str, wanted: impl Fn(&str, &Value) -> bool) -> Value {
        let mut heard = vec![];
        let found = async {
            while let Some((event, data)) = self.next().await {
                if wanted(&event, &data) {
                    return Some(data);
                }
                heard.push((event, data));
            }
            None
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await.ok().flatten();
        found.unwrap_or_else(|| panic!("waited in vain for {what}; heard {heard:?}"))
    }
}
