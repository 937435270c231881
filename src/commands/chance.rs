//! What chance gives to a command: ids, random parts of names, how long to wait. It is drawn while the facts are gathered;
//! what is decided with it is stored with the event.

#![expect(clippy::disallowed_methods, reason = "commands take their chance from here")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

pub fn id() -> Uuid {
    Uuid::new_v4()
}

/// The part of a public id that cannot be guessed.
pub fn part() -> u32 {
    rand::random()
}

/// Of `[a-z0-9]`.
pub fn text(length: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..length).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect()
}

/// What webhooks are signed with: 32 bytes, as receivers are given them.
pub fn webhook_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// Between 0 and 1.
pub fn share() -> f64 {
    rand::random()
}
