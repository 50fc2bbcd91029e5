//! What scraping a pool costs: 100 endpoints, every 50 ms, pages of 20 kB.
//!
//! Run with `cargo bench -p pointsman-feeds --bench scrape`. The endpoints are loopback addresses of one server on
//! a thread of its own; only the CPU time of the scraping thread is reported.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman_core::model::endpoint::Labels;
use pointsman_core::model::slots::Reading;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::membership::{Member, Membership};
use pointsman_feeds::scrape::tally::Tally;
use pointsman_feeds::scrape::{ScrapeOptions, Scraping};
use pointsman_http::{ClientOptions, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

const ENDPOINTS: u8 = 100;
const INTERVAL: Duration = Duration::from_millis(50);
const WARM: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);

fn main() {
    let (ready, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || runtime().block_on(serve(ready)));
    let port = address.recv().expect("the server starts");
    let membership = Arc::new(Membership::new(256));
    let members: Vec<Member> = (1..=ENDPOINTS)
        .map(|n| Member {
            name: format!("bench/worker-{n}"),
            address: SocketAddr::from(([127, 0, 0, n], port)),
            labels: Labels::default(),
        })
        .collect();
    membership.replace(&members);
    let (clock, tally) = (Clock::start(), Arc::<Tally>::default());
    runtime().block_on(async {
        let scraping = Scraping {
            membership: Arc::clone(&membership),
            clock,
            connections: Pool::new(ClientOptions::default()),
            options: ScrapeOptions {
                interval: INTERVAL,
                ..ScrapeOptions::default()
            },
            plan: None,
            tally: Arc::clone(&tally),
        };
        tokio::spawn(scraping.run());
        tokio::time::sleep(WARM).await;
        let (pages, cpu, wall) = (tally.pages(), cpu_ns(), Instant::now());
        tokio::time::sleep(MEASURED).await;
        let pages = tally.pages() - pages;
        let cpu = (cpu_ns() - cpu) as f64;
        let wall = wall.elapsed();
        let now = clock.now();
        let ages: Vec<f64> = membership
            .snapshot()
            .slots()
            .iter()
            .map(|&slot| {
                let age = membership.slots().age(slot, Reading::Waiting, now);
                age.expect("every endpoint is scraped").as_millis_f64()
            })
            .collect();
        let oldest = ages.iter().copied().fold(0.0, f64::max);
        println!(
            "{ENDPOINTS} endpoints, {} bytes a page, every {INTERVAL:?}: {:.0} pages/s, {:.1} us a page, {:.3} of a core, oldest reading {oldest:.0} ms, {} failures",
            page().len(),
            pages as f64 / wall.as_secs_f64(),
            cpu / 1e3 / pages.max(1) as f64,
            cpu / wall.as_nanos() as f64,
            tally.failures(),
        );
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
}

/// CPU time of the calling thread in nanoseconds.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = stat.split_whitespace().next();
    first.and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

async fn serve(ready: std::sync::mpsc::Sender<u16>) {
    let listener = TcpListener::bind(("0.0.0.0", 0))
        .await
        .expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    ready.send(port).expect("somebody waits");
    let page = page();
    let answer: Arc<[u8]> = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\n\r\n{page}",
        page.len()
    )
    .into_bytes()
    .into();
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let mut asked = [0; 1024];
            // A request is small and comes in one piece.
            while stream.read(&mut asked).await.is_ok_and(|n| n > 0)
                && stream.write_all(&answer).await.is_ok()
            {}
        });
    }
}

/// A page such as vLLM's: a few gauges and counters, and histograms for the rest.
fn page() -> String {
    let mut page = String::with_capacity(24_000);
    let label = "engine=\"0\",model_name=\"Qwen/Qwen3-Coder-30B-A3B-Instruct\"";
    for (name, value) in [
        ("vllm:num_requests_running", "7.0"),
        ("vllm:num_requests_waiting", "2.0"),
        ("vllm:kv_cache_usage_perc", "0.4375"),
    ] {
        let _ = writeln!(
            page,
            "# HELP {name} A gauge.\n# TYPE {name} gauge\n{name}{{{label}}} {value}"
        );
    }
    let _ = writeln!(
        page,
        "# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{{block_size=\"16\",cache_dtype=\"auto\",num_gpu_blocks=\"12345\",{label}}} 1.0"
    );
    for reason in ["stop", "length", "abort"] {
        let _ = writeln!(
            page,
            "vllm:request_success_total{{{label},finished_reason=\"{reason}\"}} 411.0"
        );
    }
    for family in [
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_inference_time_seconds",
        "request_prefill_time_seconds",
        "request_decode_time_seconds",
        "request_prompt_tokens",
        "request_generation_tokens",
    ] {
        let name = format!("vllm:{family}");
        let _ = writeln!(
            page,
            "# HELP {name} Histogram of {family}.\n# TYPE {name} histogram"
        );
        for bucket in 0..18_u32 {
            let le = 0.001 * f64::from(1 << bucket);
            let _ = writeln!(page, "{name}_bucket{{{label},le=\"{le}\"}} {bucket}.0");
        }
        let _ = writeln!(
            page,
            "{name}_count{{{label}}} 18.0\n{name}_sum{{{label}}} 1.25"
        );
    }
    let _ = writeln!(
        page,
        "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.76e+09"
    );
    page
}
