//! Which episodes may be in the cloud, in SQL: what `QaStatus::is_approved` and the label of a recall say of a row. Literals, so that statements which
//! are constants have them inside.

/// Whether the episode `e` is approved.
macro_rules! is_approved {
    () => {
        "e.qa_status in ('approved', 'inspector_approved')"
    };
}

/// Whether the batch of the episode `e` was recalled.
macro_rules! is_recalled {
    () => {
        "e.labels @> array['recalled_batch']"
    };
}

pub(crate) use {is_approved, is_recalled};

#[cfg(test)]
mod tests {
    use crate::domain::episode::{QaStatus, RECALLED_BATCH};

    #[test]
    fn they_say_what_the_domain_says() {
        let approved: Vec<String> =
            QaStatus::ALL.iter().filter(|status| status.is_approved()).map(|status| format!("'{}'", status.as_str())).collect();
        assert_eq!(is_approved!(), format!("e.qa_status in ({})", approved.join(", ")));
        assert_eq!(is_recalled!(), format!("e.labels @> array['{RECALLED_BATCH}']"));
    }
}
