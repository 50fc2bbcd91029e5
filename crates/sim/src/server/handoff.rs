//! The part that a request plays in a prefill/decode pair, by what it says of itself.
//!
//! | it carries | at a prefill server | at a decode server |
//! |---|---|---|
//! | `kv_transfer_params` | kept under its id | fetched; garbage when it was kept for longer than its lease |
//! | `bootstrap_room` | kept under the room | waits for the room to be filled |
//! | an id that names a pair, or any id in a shared store | kept under its id if one token is asked for | fetched if it is there, else computed |
//!
//! A decode server that waits for a room waits as real ones do: until its client gives up, or five minutes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use pointsman_wire::handoff::parse_internal_id;
use serde_json::Value;

use crate::flags::{Connector, Role};
use crate::server::api_error::ApiError;
use crate::server::ask::Ask;
use crate::server::desk::Desk;
use crate::server::peer;
use crate::server::transfers::Found;

/// How often a decode server looks whether its room is filled, and for how long at most.
const LOOK: Duration = Duration::from_millis(5);
const WAIT: Duration = Duration::from_secs(300);

/// The part of a request.
#[derive(Default)]
pub(crate) struct Handoff {
    /// Its KV comes from this server.
    pub(crate) peer: Option<String>,
    /// Its KV will be asked for under this name.
    pub(crate) record: Option<String>,
    /// Its KV was overwritten before it was fetched.
    pub(crate) garbage: bool,
}

impl Handoff {
    fn kept_as(name: String) -> Self {
        Self {
            record: Some(name),
            ..Self::default()
        }
    }

    fn fetched_from(peer: &str) -> Self {
        Self {
            peer: Some(peer.to_owned()),
            ..Self::default()
        }
    }
}

/// The part of a request with this id.
///
/// # Errors
/// When a room stays empty.
pub(crate) async fn handoff(desk: &Desk, ask: &Ask, id: &str) -> Result<Handoff, ApiError> {
    let settings = &desk.host.settings;
    if ask.transfer_flag("do_remote_prefill") {
        return Ok(fetched_by_params(desk, ask).await);
    }
    if ask.transfer_flag("do_remote_decode") {
        return Ok(Handoff::kept_as(id.to_owned()));
    }
    if let Some(room) = ask.bootstrap_room {
        let room = format!("room-{room}");
        return match settings.role {
            Role::Prefill => Ok(Handoff::kept_as(room)),
            Role::Decode => wait_for(desk, &room).await,
            Role::Both => Ok(Handoff::default()),
        };
    }
    let pair = parse_internal_id(id);
    let store = settings.connector == Connector::SharedStorage;
    if settings.connector == Connector::None || (pair.is_none() && !store) {
        return Ok(Handoff::default());
    }
    Ok(match settings.role {
        Role::Prefill if ask.max_tokens == Some(1) => Handoff::kept_as(id.to_owned()),
        Role::Decode if find(desk, id).await == Found::Kept => {
            Handoff::fetched_from(pair.map_or("store", |pair| pair.prefill))
        }
        _ => Handoff::default(),
    })
}

async fn fetched_by_params(desk: &Desk, ask: &Ask) -> Handoff {
    let text = |field: &str| {
        let params = ask.kv_transfer.as_ref()?;
        params.get(field).and_then(Value::as_str)
    };
    let mut handoff = Handoff::fetched_from(text("remote_host").unwrap_or("remote"));
    if let Some(id) = text("remote_request_id")
        && find(desk, id).await == Found::Overwritten
    {
        desk.host.stale.fetch_add(1, Ordering::Relaxed);
        handoff.garbage = true;
    }
    handoff
}

async fn wait_for(desk: &Desk, room: &str) -> Result<Handoff, ApiError> {
    let waiting = async {
        while find(desk, room).await == Found::Unknown {
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(WAIT, waiting).await {
        Ok(()) => Ok(Handoff::fetched_from("room")),
        Err(_) => Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "no prefill server came to the bootstrap room",
        )),
    }
}

/// What is known under a name, here or at the peer.
async fn find(desk: &Desk, name: &str) -> Found {
    let host = &desk.host;
    match (
        host.transfers.find(name, host.settings.kv_lease),
        &host.settings.kv_peer,
    ) {
        (Found::Unknown, Some(authority)) => peer::ask(&desk.pool, authority, name).await,
        (found, _) => found,
    }
}
