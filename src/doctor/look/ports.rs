//! Who listens where we would, and where the addresses lead that others are given.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

use super::body;
use crate::config::{Config, reachable};
use crate::doctor::addresses::{Led, Listening, Port, Rest};
use crate::doctor::report::brief;
use crate::telemetry::chain;

/// Everything here is near, or should be.
const NEAR: Duration = Duration::from_secs(3);

pub async fn look(config: &Config, password_remembered: bool) -> Listening {
    let client = reqwest::Client::builder().timeout(NEAR).no_proxy().build().unwrap_or_default();
    let (rest, recorder, transfer) =
        tokio::join!(rest(&client, config.http.bind), port(config.devices.recorder_bind), port(config.devices.transfer_bind));
    let serves = matches!(rest, Rest::Keystone { .. });
    let callback = async {
        match &config.http.callback_public_base_url {
            Some(url) if serves => led(&client, &format!("{url}/api/v1/health")).await,
            _ => Led::NotTried,
        }
    };
    let public_store = async {
        match &config.s3.public_endpoint {
            Some(url) if serves || !config.s3.is_embedded() => led(&client, url).await,
            _ => Led::NotTried,
        }
    };
    let (callback, public_store) = tokio::join!(callback, public_store);
    Listening { rest, recorder, transfer, callback, public_store, password_remembered }
}

async fn port(bind: SocketAddr) -> Port {
    if bind.port() == 0 {
        return Port::Any;
    }
    match tokio::time::timeout(NEAR, TcpStream::connect(reachable(bind))).await {
        Ok(Ok(_)) => Port::Listens,
        _ => Port::Quiet,
    }
}

async fn rest(client: &reqwest::Client, bind: SocketAddr) -> Rest {
    if bind.port() == 0 {
        return Rest::Any;
    }
    match client.get(format!("http://{}/api/v1/ready", reachable(bind))).send().await {
        Err(error) if error.is_connect() => Rest::Quiet,
        Err(error) => Rest::Other(chain(&error)),
        Ok(answer) => {
            let (status, body) = (answer.status(), body(answer).await);
            keystone(status.is_success(), &body).unwrap_or_else(|| Rest::Other(format!("it answers {status}")))
        }
    }
}

/// What the answer to `/ready` says, where it is one of ours.
fn keystone(ready: bool, body: &str) -> Option<Rest> {
    let answer: Value = serde_json::from_str(body).ok()?;
    let version = brief(answer["version"].as_str()?);
    let components = answer["components"].as_object()?;
    let unwell = components.iter().filter(|(_, component)| component["status"] != "healthy").map(|(name, _)| brief(name));
    let mut unwell: Vec<String> = if ready { vec![] } else { unwell.collect() };
    if !ready && unwell.is_empty() {
        unwell.push("it does not say why".to_owned());
    }
    Some(Rest::Keystone { version, unwell })
}

async fn led(client: &reqwest::Client, url: &str) -> Led {
    match client.get(url).send().await {
        Err(error) => Led::Nowhere(chain(&error)),
        Ok(answer) => {
            let ours = serde_json::from_str::<Value>(&body(answer).await).is_ok_and(|answer| answer["components"].is_object());
            if ours { Led::ToKeystone } else { Led::ToSomething }
        }
    }
}
