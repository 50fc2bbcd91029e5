//! The picker's ties to a Kubernetes cluster: discovery, the election of the one that gateways are sent to, and who may
//! read the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use pointsman_cluster::access::{self, Access};
use pointsman_cluster::election::Election;
use pointsman_cluster::{Client, connect, connect_to};
use pointsman_feeds::discovery::kubernetes::{self, Outlets, Wanted};
use pointsman_serve::admin::guard::{Guard, Verdict, Visit};
use pointsman_serve::router::Router;
use pointsman_serve::speech::is_understood;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::commands::epp::flags::Args;
use crate::serving::Control;

/// How often it is looked whether the doors are open.
const LOOK: Duration = Duration::from_millis(50);

/// Said where neither rights nor flag say who may read.
const OPEN: &str = "metrics: whoever reaches the port may read it: the picker's account may not create tokenreviews and \
     subjectaccessreviews, so nobody could be let in by token; grant these rights, or give --metrics-endpoint-auth=false";

/// A candidacy under way.
pub(super) struct Candidacy {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Candidacy {
    /// Waits until the lease is given up; that began when the doors closed.
    pub(super) async fn end(self) {
        let _ = self.end.send(());
        // It ends by itself within seconds, and cannot panic.
        let _ = self.task.await;
    }
}

/// What was tied.
#[derive(Default)]
pub(super) struct Ties {
    /// The candidacy, where a leader is elected.
    pub(super) candidacy: Option<Candidacy>,
    /// Who knows who may read the metrics port, where not all may.
    pub(super) guard: Option<Guard>,
}

/// Starts discovery, and the election where it was asked for. Readiness depends on both from now on.
pub(super) async fn start(
    args: &Args,
    wanted: Wanted,
    router: &Arc<Router>,
    control: &mut Control,
    tell: impl Fn(&str) + Send + Sync + 'static,
) -> anyhow::Result<Ties> {
    let client = match &args.kubeconfig {
        Some(path) => connect_to(path).await,
        None => connect().await,
    };
    let client = client.context("the pool is to come from Kubernetes")?;
    let tell: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(tell);
    let synced = Arc::new(AtomicBool::new(false));
    control.ready.synced = Some(Arc::clone(&synced));
    let asked = Arc::clone(router);
    control.ready.understood = Some(Arc::new(move || is_understood(&asked)));
    let candidacy = args
        .ha_enable_leader_election
        .then(|| stand(args, client.clone(), control, &tell));
    let guard = if is_guarded(args.metrics_endpoint_auth, &client, &tell).await {
        Some(guard(client.clone(), &tell))
    } else {
        None
    };
    let outlets = Outlets {
        membership: Arc::clone(&router.membership),
        directives: Arc::clone(&router.directives),
        watches: Arc::clone(&router.watches),
        synced,
        tell,
    };
    tokio::spawn(kubernetes::run(client, args.namespace(), wanted, outlets));
    Ok(Ties { candidacy, guard })
}

/// Whether readers of the metrics port show a token: as the flag says; without it where our account may ask whose it is. An
/// account that may not would turn everybody away, which is what nobody meant who gave neither rights nor flag.
async fn is_guarded(
    flag: Option<bool>,
    client: &Client,
    tell: &Arc<dyn Fn(&str) + Send + Sync>,
) -> bool {
    if let Some(said) = flag {
        return said;
    }
    let may_ask = access::may_ask(client).await;
    if !may_ask {
        tell(OPEN);
    }
    may_ask
}

/// Has the API server asked about everybody who reads the metrics port.
fn guard(client: Client, tell: &Arc<dyn Fn(&str) + Send + Sync>) -> Guard {
    let telling = Arc::clone(tell);
    let access = Arc::new(Access::new(client, move |text| telling(text)));
    Arc::new(move |visit: Visit| {
        let access = Arc::clone(&access);
        Box::pin(async move {
            let said = access.verdict(&visit.token, &visit.verb, &visit.path).await;
            match said {
                access::Verdict::Allowed => Verdict::Allowed,
                access::Verdict::Unknown => Verdict::Unknown,
                access::Verdict::Denied { user } => Verdict::Denied(user),
                access::Verdict::Unanswered { user, .. } => Verdict::Unanswered(user),
            }
        })
    })
}

/// Waits for the doors to open and then to close: from then on gateways should go to another picker.
async fn left(serving: &AtomicBool) {
    for wanted in [true, false] {
        while serving.load(Ordering::Acquire) != wanted {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Stands for election by the lease that belongs to the pool.
fn stand(
    args: &Args,
    client: Client,
    control: &mut Control,
    tell: &Arc<dyn Fn(&str) + Send + Sync>,
) -> Candidacy {
    let leading = Arc::new(AtomicBool::new(false));
    control.ready.leading = Some(Arc::clone(&leading));
    let namespace = args.namespace();
    let lease = format!("epp-{namespace}-{}.llm-d.ai", args.pool());
    let host = args.pod().unwrap_or_else(|| "epp".to_owned());
    let election = Election::new(client, &namespace, &lease, &host);
    let serving = Arc::clone(&control.ready.serving);
    let (end, ended) = oneshot::channel();
    let (telling, identity) = (Arc::clone(tell), election.identity().to_owned());
    let lead = move |leads: bool| {
        leading.store(leads, Ordering::Release);
        let word = if leads { "leads" } else { "leads no more" };
        telling(&format!("election: {identity} {word} ({lease})"));
    };
    let telling = Arc::clone(tell);
    let task = tokio::spawn(election.run(
        async move {
            tokio::select! {
                () = left(&serving) => {}
                // A sender that was dropped ends it too.
                _ = ended => {}
            }
        },
        lead,
        move |_, text| telling(&format!("election: {text}")),
    ));
    Candidacy { end, task }
}
