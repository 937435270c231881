//! A keyword over several fields: what it matches, and which matches come first.

use super::place::{Key, KeyType};

/// A keyword as SQL: what it matches, and how good a match is. The parameter is the keyword
/// as typed. Ranked: for each field exact, then prefix; then all other hits.
pub(super) struct Keyword {
    given: String,
    pattern: String,
    pub matches: String,
    pub rank: String,
}

/// A list whose good matches come first, and in the order of its own among equal ones.
pub(super) fn ranked(keyword: &Keyword, then: impl IntoIterator<Item = Key>) -> Vec<Key> {
    std::iter::once(Key::up(KeyType::Number, keyword.rank.as_str())).chain(then).collect()
}

impl Keyword {
    pub fn over(parameter: usize, fields: &[&str]) -> Self {
        let given = format!("comparable(${parameter}::text)");
        // As in the contract, `%` and `_` act as wildcards; a backslash is only a character.
        let pattern = format!(r"replace({given}, '\', '\\')");
        let mut keyword = Self { given, pattern, matches: String::new(), rank: String::new() };
        let hits: Vec<_> = fields.iter().map(|field| keyword.hits(field)).collect();
        let (given, pattern) = (&keyword.given, &keyword.pattern);
        let mut rank = format!("case when {given} is null then 0");
        for (place, field) in fields.iter().enumerate() {
            rank += &format!(
                " when comparable({field}) = {given} then {} when comparable({field}) like {pattern} || '%' then {}",
                place * 2 + 1,
                place * 2 + 2
            );
        }
        rank += &format!(" else {} end", fields.len() * 2 + 1);
        keyword.matches = format!("({given} is null or {})", hits.join(" or "));
        keyword.rank = rank;
        keyword
    }

    /// Where the keyword is somewhere in the field.
    pub fn hits(&self, field: &str) -> String {
        format!("comparable({field}) like '%' || {} || '%'", self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_ranked_field_by_field_exact_before_prefix() {
        let keyword = Keyword::over(3, &["a", "b"]);
        assert_eq!(keyword.matches.matches(" like ").count(), 2);
        let exact_b = keyword.rank.find("comparable(b) = ").unwrap();
        let prefix_a = keyword.rank.find("comparable(a) like").unwrap();
        assert!(prefix_a < exact_b, "{}", keyword.rank);
    }
}
