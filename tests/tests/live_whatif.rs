//! "What if" on the live page in a real browser: a weight is moved and the pick moves, with two endpoints and with a
//! thousand; what is given out as configuration is what decided. And the question behind it, asked by hand.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pointsman_tests::answer::chat;
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::binary::workspace;
use pointsman_tests::browser::{Browser, keep};
use pointsman_tests::http::{Request, Response};
use pointsman_tests::live::{
    DESK, IS_OPEN, PHONE, Traffic, answer, check_calm, check_contrast, check_width, number,
    opened_receipt, page,
};
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file, plain};
use serde_json::{Value, json};

/// A queue of one and an empty one against a KV cache that is nearly full and one that is not.
const TWO_WISHES: &str = "\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: max-score-picker
- type: single-profile-handler
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
  - pluginRef: kv-cache-utilization-scorer
  - pluginRef: max-score-picker
";

const QUEUE: &str = "queue-scorer";
const KV: &str = "kv-cache-utilization-scorer";

/// A model server that says the same of itself at every look.
fn steady(waiting: u32, kv: f64) -> Backend {
    Backend::start(move |request: &Received, reply: &mut Reply| {
        if request.path != "/metrics" {
            return answer(request, reply);
        }
        let page = format!(
            "vllm:num_requests_waiting {waiting}\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc {kv}\n"
        );
        reply.whole(200, "text/plain", page.as_bytes());
    })
}

/// Two engines: `roomy` has requests waiting and much room, `quick` has none waiting and little room.
struct Two {
    gateway: Gateway,
    files: Scratch,
    _backends: [Backend; 2],
}

impl Two {
    fn start() -> Self {
        let backends = [steady(9, 0.1), steady(0, 0.8)];
        let files = Scratch::new("what-if");
        let names = ["roomy", "quick"];
        let rows: Vec<(&str, SocketAddr)> = names
            .into_iter()
            .zip(backends.each_ref().map(Backend::address))
            .collect();
        let endpoints = files.file("endpoints.yaml", &endpoints_file(&rows));
        let config = files.file("two-wishes.yaml", TWO_WISHES);
        let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
        until("both to have been looked at", || {
            let rows = gateway.endpoints();
            let waiting = |row: &Value| row["readings"]["waiting"]["value"].as_f64();
            let known: Vec<f64> = rows.iter().filter_map(waiting).collect();
            (known.len() == 2 && known.contains(&9.0)).then_some(())
        });
        Self {
            gateway,
            files,
            _backends: backends,
        }
    }

    fn ask(&self, id: &str) {
        let request = chat("Hello", 1).header("x-request-id", id);
        assert_eq!(request.answered(self.gateway.address).status, 200);
        self.gateway.wait_idle();
    }
}

/// Opens the newest decision and asks what if.
fn open_what_if(browser: &mut Browser) {
    browser.until("a row", "document.querySelector('#stream tr')");
    browser.press("Enter");
    browser.until("the decision", IS_OPEN);
    browser.press("w");
    browser.until("the first answer", "document.getElementById('whatif').ariaBusy === 'false' && document.querySelector('#whatif table[data-whatif]')");
    // New rows are lit for a moment.
    browser
        .eval("Promise.all(document.getAnimations().map((one) => one.finished)).then(() => true)");
}

/// Types a weight as a person would: into the field that bears the scorer's name.
fn weigh(browser: &mut Browser, scorer: &str, weight: &str) {
    browser.eval(&format!("(() => {{ const field = document.querySelector('#whatif input[type=number][data-scorer=\"{scorer}\"]'); field.focus(); field.select(); }})()"));
    for letter in weight.chars() {
        browser.press(&letter.to_string());
    }
    browser.until(
        "the answer for that weight",
        &format!("[...document.querySelectorAll('#whatif thead th')].some((th) => th.title === '{scorer}' && th.textContent.endsWith('×{weight}'))"),
    );
}

fn text(browser: &mut Browser, selector: &str) -> String {
    let found = browser.eval(&format!("document.querySelector('{selector}').textContent"));
    found.as_str().unwrap().to_owned()
}

/// Who stands as picked in the table of the answer.
fn picked(browser: &mut Browser) -> Value {
    browser.eval(
        "document.querySelector('#whatif table[data-whatif] tr.picked')?.dataset.endpoint ?? null",
    )
}

/// Totals by endpoint as the table of the answer shows them.
fn totals(browser: &mut Browser) -> Vec<(String, f64)> {
    let rows = browser.eval("[...document.querySelectorAll('#whatif table[data-whatif] tbody tr')].filter(r => !r.classList.contains('gone')).map(r => [r.dataset.endpoint, r.querySelector('[data-c=total] .v').textContent])");
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| {
        (
            row[0].as_str().unwrap().to_owned(),
            number(row[1].as_str().unwrap()),
        )
    })
    .collect()
}

/// Totals follow from the recorded scores and these weights, by arithmetic that is nobody else's.
#[track_caller]
fn check_totals(browser: &mut Browser, receipt: &Value, weights: &[(&str, f64)]) {
    let candidates = receipt["profiles"][0]["candidates"].as_array().unwrap();
    let shown = totals(browser);
    assert_eq!(shown.len(), candidates.len());
    for candidate in candidates {
        let raw = |scorer: &str| candidate["scores"][scorer].as_f64().unwrap();
        let total: f64 = weights
            .iter()
            .map(|(scorer, weight)| raw(scorer) * weight)
            .sum();
        let name = candidate["endpoint"].as_str().unwrap();
        let (_, found) = shown.iter().find(|(known, _)| known == name).unwrap();
        assert!(
            (found - total).abs() < 0.0006,
            "{name}: {found} for {total}"
        );
    }
}

fn run(arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    let output = plain(&arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_weight_moved_moves_the_pick_and_its_configuration_can_be_taken_away() {
    let two = Two::start();
    let gateway = &two.gateway;
    let mut browser = page(gateway, DESK);
    two.ask("moved");
    open_what_if(&mut browser);
    let receipt = opened_receipt(&mut browser, gateway);
    assert_eq!(receipt["profiles"][0]["picked"], json!(["default/quick"]));
    assert_eq!(picked(&mut browser), "default/quick");
    assert_eq!(
        text(&mut browser, "#whatif-verdict"),
        "The pick stays default/quick."
    );
    check_totals(&mut browser, &receipt, &[(QUEUE, 1.0), (KV, 1.0)]);

    weigh(&mut browser, KV, "5");
    assert_eq!(picked(&mut browser), "default/roomy");
    let verdict = text(&mut browser, "#whatif-verdict");
    assert_eq!(
        verdict,
        "The pick changes from default/quick to default/roomy."
    );
    check_totals(&mut browser, &receipt, &[(QUEUE, 1.0), (KV, 5.0)]);
    let picture = browser.screenshot();
    keep("what-if", &picture);
    if std::env::var_os("POINTSMAN_GENERATE").is_some() {
        std::fs::write(workspace().join("docs/pictures/what-if.png"), &picture).unwrap();
    }

    // The same in the terminal, and by the replay of a file.
    let config = browser.eval("document.getElementById('whatif-config').value");
    let config = two.files.file("taken.yaml", config.as_str().unwrap());
    let receipts = gateway.admin_json("/debug/decisions").to_string();
    let receipts = two.files.file("receipts.json", &receipts);
    run(&["validate", &config]);
    let replayed = run(&["replay", &receipts, "--config-file", &config, "-o", "json"]);
    let replayed: Value = serde_json::from_str(&replayed).unwrap();
    assert_eq!(replayed["changed"][0]["then"], "default/quick");
    assert_eq!(replayed["changed"][0]["now"], "default/roomy");
    let admin = format!("http://{}", gateway.admin);
    let told = run(&[
        "explain",
        "moved",
        "--admin",
        &admin,
        "--weight",
        &format!("{KV}=5"),
    ]);
    assert!(
        told.contains("would go to default/roomy instead of default/quick"),
        "{told}"
    );
    // A gateway that starts with it picks by those weights.
    let endpoints = two
        .files
        .path()
        .join("endpoints.yaml")
        .display()
        .to_string();
    let other = Gateway::before(&endpoints, &["--config-file", &config]);
    let plan = other.admin_json("/debug/plan");
    let scorers = &plan["profiles"][0]["scorers"];
    assert_eq!(
        scorers[0],
        json!({"type": QUEUE, "name": QUEUE, "weight": 1.0})
    );
    assert_eq!(scorers[1], json!({"type": KV, "name": KV, "weight": 5.0}));
    drop(other);

    // Another profile has other scorers; back again everything is as it was.
    browser.eval("(() => { const by = document.getElementById('whatif-plan'); by.value = 'proxy-performance'; by.dispatchEvent(new Event('change')); })()");
    browser.until("the other profile", "[...document.querySelectorAll('#whatif thead th')].some((th) => th.title === 'active-request-scorer')");
    assert!(text(&mut browser, "#whatif-form").contains("active-request-scorer"));
    browser.eval("document.getElementById('whatif-reset').click()");
    browser.until(
        "the plan of then",
        "document.getElementById('whatif-verdict').textContent === 'The pick stays default/quick.'",
    );
    // The opened decision above has not moved.
    assert_eq!(
        text(
            &mut browser,
            "#decision table[data-profile] tr.picked [data-c=endpoint] .name"
        ),
        "default/quick"
    );
    check_calm(&mut browser, gateway);
    let decided = gateway.admin_json("/debug/plan");
    assert_eq!(
        decided["profiles"][0]["scorers"][1]["weight"], 1.0,
        "nothing in force has changed"
    );
}

/// A model server that says otherwise at every look: the shorter its queue, the fuller its KV cache, so that no
/// endpoint is the best by both.
fn at_odds(request: &Received, reply: &mut Reply) {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    if request.path != "/metrics" {
        return answer(request, reply);
    }
    // Relaxed: any order of looks will do.
    let look = LOOKS.fetch_add(1, Ordering::Relaxed);
    let waiting = look % 8;
    let kv = 0.9 * (7 - waiting) as f64 / 7.0 + 0.004 * (look * 7 % 23) as f64;
    let page = format!(
        "vllm:num_requests_waiting {waiting}\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc {kv}\n"
    );
    reply.whole(200, "text/plain", page.as_bytes());
}

#[test]
fn of_a_thousand_endpoints_a_weight_moves_the_pick_too() {
    let backend = Backend::start(at_odds);
    let names: Vec<String> = (0..1000).map(|n| format!("engine-{n:04}")).collect();
    let rows: Vec<(&str, SocketAddr)> = names
        .iter()
        .map(|name| (name.as_str(), backend.address()))
        .collect();
    let files = Scratch::new("what-if-thousand");
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&rows));
    let rarely = "- type: metrics-data-source\n  parameters: {interval: 5s}\nschedulingProfiles";
    let config = TWO_WISHES.replace("schedulingProfiles", rarely);
    let config = files.file("rarely.yaml", &config);
    let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
    let read = |row: &Value| !row["readings"]["kvUsage"]["value"].is_null();
    until("all to have been looked at", || {
        gateway.endpoints().iter().all(read).then_some(())
    });
    let mut browser = page(&gateway, DESK);
    let traffic = Traffic::at(gateway.address);
    browser.until(
        "decisions to arrive",
        "document.querySelectorAll('#stream tr').length >= 20",
    );
    drop(traffic);
    gateway.wait_idle();
    open_what_if(&mut browser);
    let receipt = opened_receipt(&mut browser, &gateway);
    assert_eq!(receipt["truncated"], true);
    let candidates = receipt["profiles"][0]["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 32);
    check_totals(&mut browser, &receipt, &[(QUEUE, 1.0), (KV, 1.0)]);
    let told = text(&mut browser, "#whatif .notes");
    assert!(
        told.contains("Among the 32 that the record kept of 1,000 endpoints"),
        "{told}"
    );

    // Which weight makes another one the best follows from the record.
    let best = |kv: f64| -> Vec<&str> {
        let total = |one: &Value| {
            one["scores"][QUEUE].as_f64().unwrap() + kv * one["scores"][KV].as_f64().unwrap()
        };
        let most = candidates
            .iter()
            .map(total)
            .fold(f64::NEG_INFINITY, f64::max);
        let ahead = candidates.iter().filter(|one| total(one) == most);
        ahead.map(|one| one["endpoint"].as_str().unwrap()).collect()
    };
    let was = receipt["profiles"][0]["picked"][0].as_str().unwrap();
    let mut wanted = ["5", "9"].into_iter();
    let weight = wanted
        .find(|kv| !best(kv.parse().unwrap()).contains(&was))
        .unwrap();
    weigh(&mut browser, KV, weight);
    let now = picked(&mut browser);
    assert!(
        best(weight.parse().unwrap()).contains(&now.as_str().unwrap()),
        "{now}"
    );
    let verdict = text(&mut browser, "#whatif-verdict");
    assert_eq!(
        verdict,
        format!("The pick changes from {was} to {}.", now.as_str().unwrap())
    );

    // A candidate is found by its name.
    let name = candidates[7]["endpoint"].as_str().unwrap();
    browser.eval("document.querySelector('#decision .profile .find').focus()");
    for letter in name.rsplit('/').next().unwrap().chars() {
        browser.press(&letter.to_string());
    }
    browser.until(
        "its row alone",
        "document.querySelectorAll('#decision table[data-profile] tbody tr').length === 1",
    );
    assert_eq!(
        browser.eval(
            "document.querySelector('#decision table[data-profile] tbody tr').dataset.endpoint"
        ),
        name
    );
    check_calm(&mut browser, &gateway);
}

#[test]
fn what_a_configuration_holds_and_what_is_wrong_with_it_stay_text() {
    let two = Two::start();
    two.ask("own");
    let mut browser = page(&two.gateway, DESK);
    open_what_if(&mut browser);
    browser.eval("(() => { const by = document.getElementById('whatif-plan'); by.value = 'a configuration of mine'; by.dispatchEvent(new Event('change')); })()");
    browser.until(
        "the field",
        "document.getElementById('whatif-own')?.value.includes('queue-scorer')",
    );
    let type_in = |browser: &mut Browser, config: &str| {
        browser.eval(&format!("(() => {{ const own = document.getElementById('whatif-own'); own.focus(); own.value = {}; own.dispatchEvent(new Event('input')); }})()", json!(config)));
    };
    let hostile = "<img src=x onerror=\\\"document.title='taken'\\\"><b>bold</b>";
    let named = TWO_WISHES
        .replace(
            "- type: queue-scorer",
            &format!("- {{type: queue-scorer, name: \"{hostile}\"}}"),
        )
        .replace(
            "pluginRef: queue-scorer",
            &format!("pluginRef: \"{hostile}\""),
        );
    type_in(&mut browser, &named);
    browser.until(
        "its scorer",
        "document.getElementById('whatif-form').textContent.includes('<b>bold</b>')",
    );
    assert_eq!(totals(&mut browser).len(), 2);
    type_in(
        &mut browser,
        &TWO_WISHES.replace(
            "pluginRef: queue-scorer",
            &format!("pluginRef: \"{hostile}\""),
        ),
    );
    browser.until("what is wrong", "document.getElementById('whatif-verdict').textContent.includes('references undefined plugin')");
    assert!(text(&mut browser, "#whatif-verdict").contains("<b>bold</b>"));
    let made = browser.eval("document.querySelectorAll('img, #whatif .verdict b, #whatif .wi-name b, #whatif th b').length");
    assert_eq!(made, 0, "no element came from a name");
    assert_eq!(browser.eval("document.title"), "pointsman");
}

#[test]
fn the_form_is_read_in_both_schemes_by_keyboard_and_on_a_phone() {
    let two = Two::start();
    two.ask("shown");
    let mut browser = page(&two.gateway, DESK);
    open_what_if(&mut browser);
    weigh(&mut browser, KV, "5");
    for scheme in ["light", "dark"] {
        browser.prefers(scheme);
        check_contrast(&mut browser, scheme);
        keep(&format!("{scheme}-what-if"), &browser.screenshot());
    }
    let named = browser.eval("[...document.querySelectorAll('#whatif :is(input, select, textarea, button)')].every((one) => (one.ariaLabel ?? one.labels?.[0]?.textContent ?? one.textContent).trim() !== '')");
    assert_eq!(named, true, "every control has a name");
    // From the slider on by Tab: each control once, in the order that it is read in.
    browser.eval("document.querySelector('#whatif input[type=range]').focus()");
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(
            browser
                .eval("document.activeElement.type + ' ' + document.activeElement.dataset.scorer"),
        );
        browser.press("Tab");
    }
    assert_eq!(
        json!(order),
        json!([
            format!("range {QUEUE}"),
            format!("number {QUEUE}"),
            format!("range {KV}"),
            format!("number {KV}")
        ])
    );
    let (width, height) = PHONE;
    browser.size(width, height);
    check_width(&mut browser, "what if");
    keep("phone-what-if", &browser.screenshot());
    browser.press("Escape");
    check_calm(&mut browser, &two.gateway);
}

/// POST of a question.
fn post(gateway: &Gateway, body: impl Into<Vec<u8>>) -> Response {
    let request = Request::new("POST", "/debug/whatif", body);
    request
        .header("content-type", "application/json")
        .answered(gateway.admin)
}

#[test]
fn the_question_is_bounded_and_asked_by_those_who_may() {
    let two = Two::start();
    two.ask("by-hand");
    let gateway = &two.gateway;
    let question = json!({"id": "by-hand", "weights": {"default": {KV: 5}}});
    let good = post(gateway, question.to_string());
    assert_eq!(good.status, 200, "{}", good.text());
    assert_eq!(good.json()["pick"], "default/roomy");
    // A form of another page cannot send JSON.
    let plain = Request::new("POST", "/debug/whatif", question.to_string());
    assert_eq!(
        plain
            .header("content-type", "text/plain")
            .answered(gateway.admin)
            .status,
        415
    );
    assert_eq!(
        Request::get("/debug/whatif").answered(gateway.admin).status,
        405
    );
    let long = json!({"id": "by-hand", "config": "#".repeat(300 << 10)});
    let long = post(gateway, long.to_string());
    assert_eq!(long.status, 413, "{}", long.text());
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        ("{\"id\": 5}", 400),
        ("{\"id\": \"nobody\"}", 404),
        (
            "{\"id\": \"by-hand\", \"weights\": {\"default\": {\"kv-cache-utilization-scorer\": 1e999}}}",
            400,
        ),
    ] {
        let response = post(gateway, body);
        assert_eq!(response.status, status, "{body}: {}", response.text());
        assert!(
            !response.json()["error"]["message"]
                .as_str()
                .unwrap()
                .is_empty()
        );
    }
    // It stands on the admin port alone.
    let outside = Request::new("POST", "/debug/whatif", question.to_string());
    let outside = outside
        .header("content-type", "application/json")
        .answered(gateway.address);
    assert!(
        !outside.text().contains("knownProfiles"),
        "{}",
        outside.text()
    );
}
