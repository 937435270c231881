//! The devices that the gateway knows, and the tokens that they have.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A device as the gateway and the configuration of a server know it, as `robot-7:a2V5,site=shanghai`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudDevice {
    pub id: String,
    pub api_key: String,
    /// At least one: a server takes no device without.
    pub tags: BTreeMap<String, String>,
}

impl CloudDevice {
    /// With a key that follows from its name, the same at each start: a configuration that was written stays good.
    pub fn named(id: &str) -> Self {
        let tags = BTreeMap::from([("source".to_owned(), "simulated".to_owned())]);
        Self { id: id.to_owned(), api_key: STANDARD.encode(format!("simulated:{id}")), tags }
    }
}

impl FromStr for CloudDevice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let (id, api_key) = name.split_once(':').map_or((name, None), |(id, key)| (id, Some(key)));
        if id.trim() != id || id.is_empty() || api_key.is_some_and(|key| key.trim() != key || key.is_empty()) {
            return Err("a device is `ID`, `ID:KEY`, with tags behind it as `,site=shanghai`".to_owned());
        }
        let bare = Self::named(id);
        let api_key = api_key.map_or(bare.api_key, str::to_owned);
        let mut tags = BTreeMap::new();
        for tag in parts {
            let (name, value) =
                tag.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| format!("`{tag}` is no tag, as `site=shanghai`"))?;
            if tags.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(format!("the tag `{name}` is there twice"));
            }
        }
        Ok(Self { id: bare.id, api_key, tags: if tags.is_empty() { bare.tags } else { tags } })
    }
}

struct Token {
    device: String,
    ends: DateTime<Utc>,
}

pub struct Devices {
    known: Vec<CloudDevice>,
    tokens: Mutex<BTreeMap<String, Token>>,
}

impl Devices {
    pub fn new(known: Vec<CloudDevice>) -> Self {
        Self { known, tokens: Mutex::default() }
    }

    pub fn with_key(&self, api_key: &str) -> Option<&CloudDevice> {
        self.known.iter().find(|device| device.api_key == api_key)
    }

    pub fn give_token(&self, device: &str, ends: DateTime<Utc>) -> String {
        let token = Uuid::new_v4().simple().to_string();
        let of = Token { device: device.to_owned(), ends };
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), of);
        token
    }

    /// The device that has this token, while it is good.
    pub fn with_token(&self, token: &str, now: DateTime<Utc>) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).filter(|token| now < token.ends).map(|token| token.device.clone())
    }

    /// No token that was given is good any more.
    pub fn end_tokens(&self) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_key_and_tags() {
        let device: CloudDevice = "robot-7:a2V5,site=上海,line=a=b".parse().unwrap();
        let tags = BTreeMap::from([("site".to_owned(), "上海".to_owned()), ("line".to_owned(), "a=b".to_owned())]);
        assert_eq!(device, CloudDevice { id: "robot-7".to_owned(), api_key: "a2V5".to_owned(), tags });
        let bare: CloudDevice = "robot-8".parse().unwrap();
        assert_eq!((&*bare.api_key, bare.tags.len()), (&*STANDARD.encode("simulated:robot-8"), 1));
        for wrong in ["", ":key", "id:", " id", "id,tag", "id,=x", "id,a=1,a=2"] {
            assert!(wrong.parse::<CloudDevice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_time() {
        let devices = Devices::new(vec!["a".parse().unwrap()]);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let ends = now + chrono::TimeDelta::seconds(60);
        let token = devices.give_token("a", ends);
        assert_eq!((devices.with_token(&token, now).as_deref(), devices.with_token(&token, ends)), (Some("a"), None));
        assert!(devices.with_token("another", now).is_none());
        devices.end_tokens();
        assert!(devices.with_token(&token, now).is_none());
    }
}
