//! Two processes of the real program, one of which is killed while it works.

use std::collections::BTreeSet;

use keystone_edge::simulator::client::Client;
use serde_json::json;

use super::receiver::Receiver;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, temp_folder, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_was_about_to_tell_is_told_by_another() {
    let (database, objects, folders) = (TestDatabase::new().await, TestObjects::new().await, [temp_folder(), temp_folder()]);
    let receiver = Receiver::start(|_| 200).await;
    let mut servers = folders.each_ref().map(|folder| Server::sharing(folder.path(), &database.url, &objects.s3.endpoint()));
    for server in &mut servers {
        server.settings.push(("KEYSTONE_WEBHOOKS_ALLOW_PRIVATE", "127.0.0.1".to_owned()));
        server.start();
        server.ready().await;
    }
    let clients = [0, 1].map(|n| servers[n].base());
    let client = Client::sign_in(&clients[0], "admin", PASSWORD).await.expect("a login");
    let asked =
        json!({ "url": receiver.url("/"), "event_types": ["factory_created"], "delivery": { "concurrency": 2, "backoff_base_ms": 100 } });
    client.create("/subscriptions", &asked).await.expect("a subscription");
    let mut made = BTreeSet::new();
    for n in 0..40 {
        if n == 20 {
            // The one that leads the log, and makes the rows.
            servers[1].kill();
        }
        let factory = client.create("/factories", &json!({ "name": format!("Factory {n}") })).await.expect("a factory");
        made.insert(format!("factory/{}/1", factory["id"].as_str().expect("an id")));
    }
    let told = || receiver.bodies().iter().map(|body| body["id"].as_str().expect("an id").to_owned()).collect::<BTreeSet<_>>();
    until("all of them", async || told().len() == made.len()).await;
    assert_eq!(told(), made);
}
