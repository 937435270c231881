//! The generated code of the data gateway is what its definitions say.

use std::collections::BTreeMap;
use std::fs;

use keystone_edge::gateway_api::auth::{ExchangeCredentialRequest, ExchangeCredentialResponse};
use keystone_edge::gateway_api::data_gateway::{UploadCredentials, UploadSession};

use crate::harness::temp_folder;
use crate::sources::{read, root};

/// Definitions, what the generator calls their file, and where that is kept.
const DEFINITIONS: [(&str, &str, &str); 2] =
    [("auth.proto", "archebase.auth.v1.rs", "auth.rs"), ("data_gateway.proto", "archebase.data_gateway.v1.rs", "data_gateway.rs")];

/// Messages that show themselves without what they hold: see `src/gateway_api/shown.rs`.
const SECRETS: [&str; 3] = [
    ".archebase.auth.v1.ExchangeCredentialRequest",
    ".archebase.auth.v1.ExchangeCredentialResponse",
    ".archebase.data_gateway.v1.UploadCredentials",
];

/// Definitions with some text in place of another, generated: by the name of the file that is kept.
fn generated(text: &str, by: &str) -> BTreeMap<&'static str, String> {
    let (sources, folder) = (root().join("src/gateway_api"), temp_folder());
    let (definitions, code) = (folder.path().join("definitions"), folder.path().join("code"));
    fs::create_dir_all(&definitions).and_then(|()| fs::create_dir_all(&code)).expect("folders");
    let mut found = false;
    for (name, _, _) in DEFINITIONS {
        let before = read(&sources.join(name));
        found |= before.contains(text);
        fs::write(definitions.join(name), before.replace(text, by)).expect("a definition");
    }
    assert!(found, "no definition has `{text}`");
    let described = protox::compile(DEFINITIONS.map(|(name, _, _)| definitions.join(name)), [&definitions]);
    let described = described.unwrap_or_else(|error| panic!("{error:?}"));
    // Clients are given their connection: how it is made is for the one who uses them.
    let settings = tonic_prost_build::configure().build_transport(false).skip_debug(SECRETS);
    settings.out_dir(&code).compile_fds(described).expect("code");
    DEFINITIONS.into_iter().map(|(_, made, kept)| (kept, read(&code.join(made)))).collect()
}

#[test]
fn secrets_are_not_shown() {
    let session = UploadSession {
        upload_id: "an upload".to_owned(),
        credentials: Some(UploadCredentials {
            object_key: "a key".to_owned(),
            sts_access_key_secret: "secret 1".to_owned(),
            sts_security_token: "secret 2".to_owned(),
            ..UploadCredentials::default()
        }),
        ..UploadSession::default()
    };
    let asked = ExchangeCredentialRequest { credential_base64: "secret 3".to_owned() };
    let given = ExchangeCredentialResponse { access_token: "secret 4".to_owned(), key_id: "an id".to_owned(), ..Default::default() };
    let shown = format!("{session:?} {asked:?} {given:?}");
    assert!(!shown.contains("secret ") && ["an upload", "a key", "an id"].iter().all(|known| shown.contains(known)), "{shown}");
}

#[test]
fn the_generated_code_is_that_of_the_definitions() {
    let made = generated("proto3", "proto3");
    for (name, code) in &made {
        let path = root().join("src/gateway_api").join(name);
        if std::env::var_os("KEYSTONE_WRITE_GENERATED").is_some() {
            fs::write(&path, code).expect("a file");
        }
        assert!(read(&path) == *code, "{}: KEYSTONE_WRITE_GENERATED=1 writes it anew", path.display());
    }
    let changed = generated("int64 file_size = 2;", "int64 file_size = 7;");
    assert_ne!(made, changed, "a planted change is noticed");
}
