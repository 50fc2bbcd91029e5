//! A router in memory, and conversations with its door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pointsman_core::config::basis::Registry;
use pointsman_core::model::endpoint::Labels;
use pointsman_core::schedule::plan::Plan;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::membership::{Member, Membership};
use pointsman_feeds::plan::{Terms, from_text};
use pointsman_http::ClientOptions;
use pointsman_serve::door::extproc::conversation::{Conversation, Turn};
use pointsman_serve::door::extproc::settings::Settings;
use pointsman_serve::door::route::Routes;
use pointsman_serve::record::log::Log;
use pointsman_serve::router::{Lane, Router};
use pointsman_wire::extproc::grpc::Outbox;
use pointsman_wire::extproc::messages::ProcessingRequest;

use crate::tongue::{heard, line};

/// The picker takes whoever has least to do.
pub(crate) const LEAST_BUSY: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: active-request-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins: [{pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]
";

/// The plan that a configuration makes.
pub(crate) fn plan(config: &str) -> Plan {
    let specs = [pointsman_plugins::ALL, pointsman_wire::parser::SPECS].concat();
    let registry = Registry::new(&specs);
    match from_text(config, "test", &Terms::new(&registry)) {
        Ok(resolved) => resolved.plan,
        Err(faults) => panic!("{faults:?}"),
    }
}

/// A router and one lane of it.
pub(crate) struct Rig {
    pub(crate) router: Arc<Router>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) settings: Arc<Settings>,
}

impl Rig {
    /// One before endpoints at these addresses, under this configuration.
    pub(crate) fn new(addresses: &[&str], config: &str) -> Self {
        Self::with(addresses, config, Settings::default())
    }

    pub(crate) fn with(addresses: &[&str], config: &str, settings: Settings) -> Self {
        Self::labelled(addresses, &[], config, settings)
    }

    /// The same; endpoint `n` has the `n`th label.
    pub(crate) fn labelled(
        addresses: &[&str],
        labels: &[(&str, &str)],
        config: &str,
        settings: Settings,
    ) -> Self {
        let plan = plan(config);
        let membership = Arc::new(Membership::new(16));
        let members = addresses.iter().enumerate().map(|(at, address)| Member {
            name: format!("default/{at}"),
            address: address.parse().unwrap(),
            labels: labels.get(at).copied().into_iter().collect::<Labels>(),
        });
        membership.replace(&members.collect::<Vec<_>>());
        let log = Log::new(None, None, 0);
        let routes = Routes::all_to_pool();
        let router = Router::new(Clock::start(), membership, plan, routes, log, 7);
        let router = Arc::new(router);
        let lane = router.add_lane(1, ClientOptions::default());
        Self {
            router,
            lane,
            settings: Arc::new(settings),
        }
    }

    /// Opens a conversation.
    pub(crate) fn talk(&self) -> Talk {
        Talk {
            conversation: Conversation::new(Arc::clone(&self.lane), Arc::clone(&self.settings)),
            turn: Turn::GoOn,
        }
    }

    /// The pool has these endpoints from now on.
    pub(crate) fn joins(&self, addresses: &[&str]) {
        let members = addresses.iter().enumerate().map(|(at, address)| Member {
            name: format!("default/{at}"),
            address: address.parse().unwrap(),
            labels: Labels::default(),
        });
        self.router.membership.replace(&members.collect::<Vec<_>>());
    }

    /// Requests in flight, by endpoint.
    pub(crate) fn in_flight(&self) -> Vec<u32> {
        let slots = self.router.membership.slots();
        let snapshot = self.router.membership.snapshot();
        let rows = snapshot.endpoints.iter();
        rows.map(|endpoint| slots.in_flight(endpoint.slot))
            .collect()
    }

    /// How many exchanges have ended: served, broken, rejected, client gone.
    pub(crate) fn ended(&self) -> [u64; 4] {
        let ended = &self.router.counts.ended;
        [0, 1, 2, 3].map(|at| ended[at].load(Ordering::Relaxed))
    }
}

/// A conversation from the gateway's side.
pub(crate) struct Talk {
    pub(crate) conversation: Conversation,
    pub(crate) turn: Turn,
}

impl Talk {
    /// Says something and hears the answers, a line each.
    pub(crate) fn say(&mut self, message: ProcessingRequest) -> Vec<String> {
        let mut out = Outbox::default();
        self.turn = self.conversation.take(message, &mut out);
        heard(&mut out).iter().map(line).collect()
    }
}

/// The endpoint that a line of answers names.
pub(crate) fn destination(lines: &[String]) -> SocketAddr {
    let word = lines.iter().flat_map(|line| line.split(' '));
    let mut named = word.filter_map(|w| w.strip_prefix("+x-gateway-destination-endpoint="));
    named
        .next()
        .unwrap_or_else(|| panic!("no destination in {lines:?}"))
        .parse()
        .unwrap()
}
