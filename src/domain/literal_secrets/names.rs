//! Names of secrets, by their words.

/// What kind of secret a name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    StoreAccessKey,
    StoreSecretKey,
    Token,
    /// A secret that no placeholder stands for.
    Other,
}

impl Kind {
    /// What a robot replaces by its own.
    pub fn placeholder(self) -> Option<&'static str> {
        match self {
            Self::StoreAccessKey => Some("{{ store_access_key }}"),
            Self::StoreSecretKey => Some("{{ store_secret_key }}"),
            Self::Token => Some("{{ ws_client_auth_token }}"),
            Self::Other => None,
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| plain.ends_with(ending));
        if ends(&["secretkey", "secretaccesskey"]) {
            Some(Self::StoreSecretKey)
        } else if ends(&["accesskey", "accesskeyid"]) {
            Some(Self::StoreAccessKey)
        } else if ends(&["token"]) {
            Some(Self::Token)
        } else if ends(&[
            "secret",
            "password",
            "passwd",
            "passphrase",
            "apikey",
            "privatekey",
            "credential",
            "credentials",
            "authorization",
        ]) || last_word(name, &["pass", "passcode", "pwd", "psk", "jwt", "bearer"]) && !is_about_something_else(name)
        {
            Some(Self::Other)
        } else {
            None
        }
    }
}

/// `low_pass` of a filter, `first_pass` of a planner, and `pwd` alone, which is a folder.
fn is_about_something_else(name: &str) -> bool {
    let plain = name.to_ascii_lowercase();
    let before = plain.trim_end_matches("pass").trim_end_matches(['_', '-', '.', ' ']);
    let passes = ["low", "high", "band", "all", "first", "second", "last", "multi", "single", "two"];
    plain == "pwd" || (plain.ends_with("pass") && passes.iter().any(|word| before.ends_with(word)))
}

/// Whether the last word of a name is one of these: that of `db_pass` and `dbPass`, not that of `bypass`.
pub(super) fn last_word(name: &str, words: &[&str]) -> bool {
    let name = name.trim_end_matches(|c: char| !c.is_alphanumeric());
    let upper = |c: char| c.is_ascii_uppercase();
    let begins = |(at, c): (usize, char)| {
        let before = name[..at].chars().next_back().unwrap_or('_');
        !before.is_alphanumeric() || (upper(c) && !upper(before))
    };
    let begin = name.char_indices().rev().find(|at| begins(*at)).map_or(0, |(at, _)| at);
    words.iter().any(|word| name[begin..].eq_ignore_ascii_case(word))
}
