//! `keystone suites`: the same on the database and at a server.

use serde_json::{Value, json};

use crate::events_remote::Both;
use crate::harness::edge::TestEdge;
use crate::harness::temp_folder;

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_suite_is_drafted_tried_and_put_to_use_from_a_file() {
    let edge = TestEdge::start().await;
    let folder = temp_folder();
    let both = Both::of(&edge, folder.path());
    let shipped = both.say("suites show default").await;
    assert_eq!(json_of(&shipped)["id"], "default");
    assert_eq!(both.say("suites list").await, "");
    let file = folder.path().join("rules.json");
    std::fs::write(&file, &shipped).unwrap();
    let file = file.to_str().unwrap();

    let (code, drafted) = both.on_database.tool(&["suites", "draft", file, "--name", "hall-2", "--note", "as shipped"]).await;
    assert!(code == 0 && drafted.contains("draft") && drafted.contains("hall-2 1") && drafted.contains("as shipped"), "{drafted}");
    let (code, second) = both.server(&["suites", "draft", file, "--name", "hall-2"]).await;
    assert!(code == 0 && second.contains("hall-2 2"), "{second}");
    assert_eq!(both.say("suites list --state draft --name hall-2").await.lines().count(), 2);
    let kept = json_of(&both.say("suites show 1").await);
    assert_eq!((&kept["checks"], &kept["note"]), (&json_of(&shipped)["checks"], &json!("as shipped")));

    let mut rules = json_of(&shipped);
    rules["approve_at"] = json!(0.5);
    std::fs::write(file, rules.to_string()).unwrap();
    for (id, changed) in [
        ("1", both.on_database.tool(&["suites", "change", "1", file, "--note", "more is approved"]).await),
        ("2", both.server(&["suites", "change", "2", file, "--note", "more is approved"]).await),
    ] {
        assert!(changed.0 == 0 && changed.1.contains("more is approved"), "{}", changed.1);
        assert_eq!(json_of(&both.say(&format!("suites show {id}")).await)["approve_at"], 0.5);
    }
    for arguments in ["suites what-if 1", "suites what-if default --station 1 --from 2026-01-01T00:00:00Z"] {
        assert_eq!(both.say(arguments).await, "0 of 0 verdicts would be other ones; 0 episodes match\n");
    }
    assert_eq!(json_of(&both.say("suites what-if 2 --json --robot AB-F0001-T0001-000001").await)["episodes"], json!([]));

    assert!(both.on_database.tool(&["suites", "activate", "1"]).await.1.contains("active"));
    let (code, activated) = both.server(&["suites", "activate", "2"]).await;
    assert!(code == 0 && activated.contains("active"), "{activated}");
    assert!(both.say("suites list --state retired").await.contains("hall-2 1"));
    assert!(both.on_database.tool(&["suites", "retire", "2"]).await.1.contains("retired"));
    let by =
        "select string_agg(distinct metadata ->> 'actor', ',' order by metadata ->> 'actor') from events where aggregate_type = 'qa_suite'";
    let client = edge.database.pool.get().await.unwrap();
    assert_eq!(client.query_one(by, &[]).await.unwrap().get::<_, String>(0), "command_line,user:admin");
}

#[tokio::test]
async fn what_cannot_be_done_with_a_suite_says_why() {
    let edge = TestEdge::start().await;
    let folder = temp_folder();
    let both = Both::of(&edge, folder.path());
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (text, list, empty) = (file("text", "not JSON"), file("list", "[]"), file("empty", "{\"name\": \"a\"}"));
    let (large, odd) = (file("large", &" ".repeat((1 << 20) + 1)), both.on_database.tool(&["suites", "show", "default"]).await.1);
    let odd = file("odd", &odd.replace("\"mcap_magic\"", "\"mcap_magix\""));
    for (arguments, why) in [
        (vec!["show", "7"], ""),
        (vec!["activate", "7"], ""),
        (vec!["what-if", "7"], "suite"),
        (vec!["draft", "/nowhere/rules.json"], "cannot read /nowhere/rules.json"),
        (vec!["draft", &text], "is not JSON"),
        (vec!["draft", &list], "is not the JSON of a suite"),
        (vec!["draft", &large], "is larger than"),
        (vec!["draft", &empty], "approve_at"),
        (vec!["draft", &odd], "mcap_magix"),
        (vec!["list", "--state", "asleep"], "draft"),
        (vec!["what-if", "default", "--from", "yesterday"], "--from"),
    ] {
        let arguments = [vec!["suites"], arguments].concat();
        for (code, said) in [both.on_database.tool(&arguments).await, both.server(&arguments).await] {
            assert!(code != 0 && said.contains(why), "{arguments:?}: {code} {said}");
        }
    }
    let client = edge.database.pool.get().await.unwrap();
    assert_eq!(client.query_one("select count(*) from events where aggregate_type = 'qa_suite'", &[]).await.unwrap().get::<_, i64>(0), 0);
}
