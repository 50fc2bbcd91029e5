//! Pages behind TLS: whom the scraper trusts, what it shows, and files that change under it.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use pointsman_core::config::basis::Registry;
use pointsman_core::model::endpoint::Labels;
use pointsman_core::model::slots::{Reading, ScrapeState, Slot};
use pointsman_core::schedule::plan::Plan;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::membership::{Member, Membership};
use pointsman_feeds::plan::{Terms, from_text};
use pointsman_feeds::scrape::tally::Tally;
use pointsman_feeds::scrape::{ScrapeOptions, Scraping};
use pointsman_http::{
    Body, ClientOptions, Clients, Credentials, DrainStarter, FaultSwitch, Pool, ServerOptions, Tls,
    bind, drain, serve,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

const LONG: Duration = Duration::from_secs(60);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key as PEM.
fn signed(authority: &Authority, name: &str) -> (String, String) {
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("https-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file with this content.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An engine behind TLS and a pool that holds it.
struct World {
    membership: Arc<Membership>,
    tally: Arc<Tally>,
    _drain: DrainStarter,
}

fn credentials(authority: &Authority, name: &str, clients: Option<&Authority>) -> Credentials {
    let (certificate, key) = signed(authority, name);
    Credentials {
        certificate: certificate.into(),
        key: key.into(),
        clients: clients.map(|authority| Clients {
            authorities: authority.pem().into(),
            ids: Vec::new(),
        }),
    }
}

impl World {
    fn start(credentials: &Credentials, parameters: &str) -> Self {
        let bound = bind("127.0.0.1:0".parse().unwrap(), "engine").unwrap();
        let address = bound.local_addr();
        let options = ServerOptions {
            tls: Some(Tls::new(credentials, false).unwrap()),
            ..ServerOptions::default()
        };
        let (starter, drained) = drain();
        let page = |_, _| async { Response::new(Body::bytes("vllm:num_requests_waiting 7\n")) };
        let switch = FaultSwitch::default();
        tokio::spawn(serve(bound, Arc::new(options), switch, drained, page));
        let membership = Arc::new(Membership::new(4));
        membership.replace(&[Member {
            name: "default/engine".to_owned(),
            address,
            labels: Labels::default(),
        }]);
        let (plan, tally) = (plan(parameters), Arc::<Tally>::default());
        let scraping = Scraping {
            membership: Arc::clone(&membership),
            clock: Clock::start(),
            connections: Pool::new(ClientOptions::default()),
            options: ScrapeOptions {
                backoff: Duration::from_millis(50),
                ..ScrapeOptions::default()
            },
            plan: Some(Box::new(move || Arc::clone(&plan))),
            tally: Arc::clone(&tally),
        };
        tokio::spawn(scraping.run());
        Self {
            membership,
            tally,
            _drain: starter,
        }
    }

    fn slot(&self) -> Slot {
        self.membership.snapshot().slots()[0]
    }

    /// How the first look ends from now on.
    async fn next(&self) -> ScrapeState {
        let counts = || self.tally.pages() + self.tally.failures();
        // Two, since one may be under way.
        let (so_far, begin) = (counts(), Instant::now());
        while counts() < so_far + 2 {
            assert!(begin.elapsed() < LONG, "nobody looks at the page");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.membership.slots().scrape_state(self.slot())
    }

    fn waiting(&self) -> f64 {
        self.membership
            .slots()
            .read(self.slot(), Reading::Waiting)
            .0
    }
}

fn plan(parameters: &str) -> Arc<Plan> {
    let registry = Registry::new(
        &[
            pointsman_plugins::ALL,
            pointsman_wire::parser::SPECS,
            pointsman_feeds::SPECS,
        ]
        .concat(),
    );
    let text = format!(
        "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: metrics-data-source\n  parameters: {{scheme: https, interval: 50ms{parameters}}}\n- type: core-metrics-extractor\n- type: queue-scorer\nschedulingProfiles:\n- name: default\n  plugins:\n  - pluginRef: queue-scorer\ndataLayer:\n  sources:\n  - pluginRef: metrics-data-source\n    extractors:\n    - pluginRef: core-metrics-extractor\n"
    );
    let resolved = from_text(&text, "t", &Terms::new(&registry));
    Arc::new(resolved.unwrap_or_else(|faults| panic!("{faults:?}")).plan)
}

#[tokio::test]
async fn an_engine_with_a_certificate_of_its_own_making_is_read_unless_it_shall_be_verified() {
    let own = credentials(&authority(), "localhost", None);
    let world = World::start(&own, "");
    assert_eq!(world.next().await, ScrapeState::Fresh);
    assert!((world.waiting() - 7.0).abs() < 1e-9);
    // What vouches for it is not among the system's authorities.
    let folder = Folder::new("stranger");
    let other = folder.file("ca.pem", &authority().pem());
    let wary = World::start(
        &own,
        &format!(", insecureSkipVerify: false, caCertPath: {other}"),
    );
    assert_eq!(wary.next().await, ScrapeState::Unreachable);
}

#[tokio::test]
async fn an_authority_vouches_for_the_address_of_the_engine() {
    let (authority, folder) = (authority(), Folder::new("address"));
    let ca = folder.file("ca.pem", &authority.pem());
    let parameters = format!(", insecureSkipVerify: false, caCertPath: {ca}");
    let good = World::start(&credentials(&authority, "127.0.0.1", None), &parameters);
    assert_eq!(good.next().await, ScrapeState::Fresh);
    let misnamed = World::start(&credentials(&authority, "127.0.0.2", None), &parameters);
    assert_eq!(misnamed.next().await, ScrapeState::Unreachable);
}

#[tokio::test]
async fn an_engine_that_asks_is_shown_a_certificate_and_a_renewed_one_is_noticed() {
    let (authority, folder) = (authority(), Folder::new("mutual"));
    let put = |issuer: &Authority| {
        let (certificate, key) = signed(issuer, "picker");
        let certificate = folder.file("tls.crt", &certificate);
        let key = folder.file("tls.key", &key);
        format!(", clientCertPath: {certificate}, clientKeyPath: {key}")
    };
    let asking = credentials(&authority, "127.0.0.1", Some(&authority));
    let silent = World::start(&asking, "");
    assert_eq!(silent.next().await, ScrapeState::Unreachable);
    let world = World::start(&asking, &put(&self::authority()));
    assert_eq!(world.next().await, ScrapeState::Unreachable);
    put(&authority);
    let begin = Instant::now();
    while world.next().await != ScrapeState::Fresh {
        assert!(begin.elapsed() < LONG, "the renewed one is not shown");
    }
}
