//! Two hosts, as two network namespaces with a cable between them: Postgres, objects and one process here, the process that leads
//! there, and then the cable is pulled. Needs root and `ip`; without them it says that it was skipped.
//!
//! `CAMPAIGN_ROUNDS` pulls it more often.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use keystone_edge::config::Secret;
use keystone_edge::eventstore::log;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use tokio::time::Instant;

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{PrivatePostgres, TestObjects, postgres_options, temp_folder, until};
use crate::leadership::{TAKEN_OVER_WITHIN, health, rounds};

/// Until Postgres has ended the sessions of a host that is gone, and until that host serves again once it is back.
const HEALED_WITHIN: Duration = Duration::from_secs(45);

/// The other host, and the cable to it.
struct Cable {
    name: String,
    subnet: [u8; 3],
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

impl Cable {
    fn lay() -> Result<Self, String> {
        if !nix::unistd::Uid::effective().is_root() {
            return Err("this test needs root".to_owned());
        }
        let n = std::process::id();
        let cable = Self { name: format!("ks{}", n % 100_000), subnet: [10, 200 + (n >> 8) as u8 % 50, n as u8] };
        let (name, here, there) = (&cable.name, cable.here(), cable.there());
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {name}a type veth peer name {name}b netns {name}"))?;
        ip(&format!("addr add {here}/30 dev {name}a"))?;
        ip(&format!("link set {name}a up"))?;
        ip(&format!("-n {name} addr add {there}/30 dev {name}b"))?;
        ip(&format!("-n {name} link set {name}b up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(cable)
    }

    fn here(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.subnet[0], self.subnet[1], self.subnet[2], 1)
    }

    fn there(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.subnet[0], self.subnet[1], self.subnet[2], 2)
    }

    /// What is sent is lost; neither end hears of it.
    fn pull(&self) {
        ip(&format!("-n {0} link set {0}b down", self.name)).expect("the cable");
    }

    fn plug_in(&self) {
        ip(&format!("-n {0} link set {0}b up", self.name)).expect("the cable");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _gone_already = (ip(&format!("link del {}a", self.name)), ip(&format!("netns del {}", self.name)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_host_drops_off_the_network_is_followed_and_comes_back() {
    let cable = match Cable::lay() {
        Ok(cable) => cable,
        Err(reason) => return eprintln!("skipped: two hosts need network namespaces: {reason}"),
    };
    let addresses = format!("127.0.0.1,{}", cable.here());
    let mut postgres = PrivatePostgres::start_with(postgres_options().volatile().with("listen_addresses", &addresses)).await;
    let hba = postgres.running().data_dir().join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).expect("the rules of access");
    std::fs::write(&hba, format!("{rules}\nhost all all {}/30 scram-sha-256\n", cable.here())).expect("the rules of access");
    let (superuser, connection) =
        tokio_postgres::connect(postgres.running().superuser_url().expose(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    superuser.batch_execute("select pg_reload_conf()").await.expect("the rules are read");
    let objects = TestObjects::on(cable.here()).await;
    let url = Secret::new(postgres.url().expose().replace("127.0.0.1", &cable.here().to_string()));

    let folders = [temp_folder(), temp_folder()];
    let mut there = Server::sharing(folders[0].path(), &url, &objects.s3.endpoint());
    there.host = cable.there().to_string();
    there.through = ["ip", "netns", "exec", &cable.name].map(str::to_owned).to_vec();
    let mut here = Server::sharing(folders[1].path(), &url, &objects.s3.endpoint());
    let pool = postgres.connector().pool().expect("a pool");
    let leads = async |server: &Server| {
        let sql = "select name like '% ' || $1 from leadership where lease_until > clock_timestamp()";
        let row = pool.get().await.unwrap().query_opt(sql, &[&server.pid().to_string()]).await.unwrap();
        row.is_some_and(|row| row.get(0))
    };

    for round in 0..rounds() {
        there.start();
        there.ready().await;
        until("the other host to lead", async || leads(&there).await).await;
        here.start();
        here.ready().await;
        let client = Client::sign_in(&here.base(), "admin", PASSWORD).await.expect("a login");
        let made = factory::seed(&client, &format!("Hosts {round}"), 1).await.expect("a factory");
        let far = Client::sign_in(&there.base(), "admin", PASSWORD).await.expect("a login");
        factory::place_order(&far, &made, "There", 1).await.expect("an order");

        cable.pull();
        let started = Instant::now();
        factory::place_order(&client, &made, "Here", 1).await.expect("an order");
        until("this host to lead", async || {
            assert_eq!(health(&here).await.0, 200);
            leads(&here).await
        })
        .await;
        until("the last event to have its position", async || log::head(&pool).await.expect("a head").unplaced == 0).await;
        println!("round {round}: taken over after {:?}", started.elapsed());
        assert!(started.elapsed() < TAKEN_OVER_WITHIN, "{:?}", started.elapsed());
        // Takes a quarter of a minute, so not in every run of the tests.
        if rounds() > 1 {
            let sessions = "select count(*) from pg_stat_activity where client_addr = $1::text::inet";
            until("the sessions of the host that is gone to end", async || {
                pool.get().await.unwrap().query_one(sessions, &[&cable.there().to_string()]).await.unwrap().get::<_, i64>(0) == 0
            })
            .await;
            println!("round {round}: its sessions ended after {:?}", started.elapsed());
        }

        cable.plug_in();
        let started = Instant::now();
        there.ready().await;
        until("an order by the host that is back", async || factory::place_order(&far, &made, "There again", 1).await.is_ok()).await;
        println!("round {round}: back after {:?}", started.elapsed());
        assert!(started.elapsed() < HEALED_WITHIN, "{:?}", started.elapsed());
        until("all events to have positions", async || log::head(&pool).await.expect("a head").unplaced == 0).await;
        assert_eq!(log::verify(&pool).await.expect("an answer"), []);
        here.stop().await;
        there.stop().await;
    }
    pool.close();
    drop(superuser);
    postgres.stop().await;
    objects.s3.stop().await;
}
