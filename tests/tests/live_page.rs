//! The live page in a real browser: what it shows is what was decided, with two endpoints and with a thousand.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use pointsman_tests::answer::{MODEL, chat, chat_body};
use pointsman_tests::backend::Backend;
use pointsman_tests::binary::workspace;
use pointsman_tests::browser::{Browser, keep};
use pointsman_tests::burst::burst;
use pointsman_tests::http::Request;
use pointsman_tests::live::{
    DESK, IS_OPEN, PHONE, Traffic, answer, check_calm, check_contrast, check_width, number,
    opened_receipt, page,
};
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file};
use serde_json::{Value, json};

/// What an opened decision's tables say, cell by cell.
const TABLES: &str = "[...document.querySelectorAll('#decision table[data-profile]')].map(t => ({
    profile: t.dataset.profile,
    rows: [...t.tBodies[0].rows].map(r => ({
        endpoint: r.dataset.endpoint,
        picked: r.classList.contains('picked'),
        cells: Object.fromEntries([...r.cells].map(c => [c.dataset.c, (c.querySelector('.v') ?? c).textContent])),
        ages: Object.fromEntries([...r.cells].filter(c => c.querySelector('.age')).map(c => [c.dataset.c, c.querySelector('.age').textContent])),
        raws: Object.fromEntries([...r.cells].filter(c => c.querySelector('.raw')).map(c => [c.dataset.c, c.querySelector('.raw').textContent])),
    }))}))";

#[track_caller]
fn check_near(shown: &str, told: &Value, within: f64, what: &str) {
    let (shown, told) = (number(shown), told.as_f64().unwrap());
    assert!(
        (shown - told).abs() <= within * told.abs().max(1.0),
        "{what}: shown {shown}, told {told}"
    );
}

/// The table in the browser says what the receipt says, row by row and cell by cell.
#[track_caller]
fn check_tables(browser: &mut Browser, receipt: &Value) {
    let tables = browser.eval(TABLES);
    let profiles = receipt["profiles"].as_array().unwrap();
    assert_eq!(tables.as_array().unwrap().len(), profiles.len());
    for profile in profiles {
        let table = tables
            .as_array()
            .unwrap()
            .iter()
            .find(|table| table["profile"] == profile["name"])
            .unwrap();
        let rows = table["rows"].as_array().unwrap();
        let (candidates, filtered) = (
            profile["candidates"].as_array().unwrap(),
            profile["filtered"].as_array().unwrap(),
        );
        assert_eq!(rows.len(), candidates.len() + filtered.len());
        let row_of = |name: &Value| rows.iter().find(|row| row["endpoint"] == *name).unwrap();
        let picked = profile["picked"].as_array().unwrap();
        for candidate in candidates {
            let name = &candidate["endpoint"];
            let row = row_of(name);
            assert_eq!(row["picked"], picked.contains(name), "{row}");
            let shown = |column: String| row["cells"][&column].as_str().unwrap_or_default();
            assert!(shown("endpoint".into()).starts_with(name.as_str().unwrap()));
            check_near(shown("total".into()), &candidate["total"], 0.0006, "total");
            check_readings(row, candidate);
            let scores = candidate["scores"].as_object().unwrap();
            assert!(!scores.is_empty(), "{candidate}");
            for (scorer, raw) in scores {
                let known = profile["scorers"].as_array().unwrap().iter();
                let weight = known
                    .filter(|one| one["name"] == *scorer)
                    .find_map(|one| one["weight"].as_f64())
                    .unwrap();
                let column = format!("score:{scorer}");
                let weighted = json!(raw.as_f64().unwrap() * weight);
                check_near(shown(column.clone()), &weighted, 0.0006, scorer);
                match row["raws"][&column].as_str() {
                    Some(text) => check_near(text.trim_end_matches(" raw"), raw, 0.0006, scorer),
                    None => assert!(weight == 1.0, "the raw score of {scorer} is not shown"),
                }
            }
        }
        for gone in filtered {
            let row = row_of(&gone["endpoint"]);
            let by = row["cells"]["by"].as_str().unwrap();
            assert_eq!(by, format!("removed by {}", gone["by"].as_str().unwrap()));
            check_readings(row, gone);
        }
    }
}

/// Readings and their ages.
#[track_caller]
fn check_readings(row: &Value, told: &Value) {
    let readings = told["readings"].as_object().unwrap();
    assert!(!readings.is_empty(), "{told}");
    for (name, reading) in readings {
        let column = format!("reading:{name}");
        let text = row["cells"][&column].as_str().unwrap();
        check_near(text, &reading["value"], 0.006, name);
        if matches!(name.as_str(), "inFlight" | "prefixBlocks") {
            continue;
        }
        let text = row["ages"][&column].as_str().unwrap();
        match reading["ageMs"].as_f64() {
            None => assert_eq!(text, "never"),
            Some(ms) if ms < 1000.0 => assert_eq!(text, format!("{ms:.0} ms")),
            Some(_) => assert!(text.ends_with(" s") || text.ends_with(" min"), "{text}"),
        }
    }
}

#[test]
fn a_decision_opened_by_keyboard_shows_its_receipt() {
    let lab = Gateway::up(&["--profile", "default", "--seed", "7", "--quiet"]);
    let mut browser = page(&lab, DESK);
    for number in 0..6 {
        let request = chat("the same words each time, so that a prefix is known", 8);
        let request = request.header("x-request-id", &format!("seen-{number}"));
        assert_eq!(request.answered(lab.address).status, 200);
    }
    lab.wait_idle();
    browser.until(
        "six decisions that have ended",
        "document.querySelectorAll('#stream .chip.good').length === 6",
    );
    let listed = browser
        .eval("[...document.querySelectorAll('#stream tr')].map(r => r.cells[1].textContent)");
    assert_eq!(
        listed,
        json!(["seen-5", "seen-4", "seen-3", "seen-2", "seen-1", "seen-0"])
    );

    browser.press("j");
    browser.press("j");
    browser.press("Enter");
    browser.until("the decision", IS_OPEN);
    let receipt = opened_receipt(&mut browser, &lab);
    assert_ne!(
        receipt["requestId"], "seen-5",
        "the second from the top was under the cursor"
    );
    check_tables(&mut browser, &receipt);
    let picked = browser.eval("document.querySelector('#decision [data-c=picked]').textContent");
    assert_eq!(picked, receipt["profiles"][0]["picked"][0]);
    let focused = browser.eval("document.activeElement.id");
    assert_eq!(focused, "decision", "the focus has gone to what was opened");

    // The next one down, then closed: the focus is back on its row.
    browser.press("k");
    browser.until(
        "another decision",
        &format!(
            "{IS_OPEN} && document.querySelector('#decision [data-c=id]').textContent !== '{}'",
            receipt["requestId"].as_str().unwrap()
        ),
    );
    let other = opened_receipt(&mut browser, &lab);
    check_tables(&mut browser, &other);
    browser.press("Escape");
    browser.until(
        "the decision to be closed",
        "document.getElementById('decision').hidden",
    );
    let row = browser.eval("document.activeElement.closest('#stream tr').cells[1].textContent");
    assert_eq!(row, other["requestId"]);

    // Paused, the rows stand still; resumed, what came meanwhile is there.
    browser.press("p");
    assert_eq!(
        chat("Hello", 4)
            .header("x-request-id", "meanwhile")
            .answered(lab.address)
            .status,
        200
    );
    browser.until(
        "the newer one to be counted",
        "document.getElementById('stream-note').textContent.includes('1 newer decision')",
    );
    assert_eq!(
        browser.eval("document.querySelector('#stream tr').cells[1].textContent"),
        "seen-5"
    );
    browser.press("p");
    browser.until(
        "the newer one",
        "document.querySelector('#stream tr').cells[1].textContent === 'meanwhile'",
    );

    // The filter is reached by its key, and takes keys as text.
    browser.press("/");
    for letter in ["s", "e", "e", "n", "-", "3"] {
        browser.press(letter);
    }
    browser.until(
        "one row",
        "document.querySelectorAll('#stream tr').length === 1",
    );
    browser.press("Escape");
    check_calm(&mut browser, &lab);
}

#[test]
fn removed_candidates_and_an_idle_picker_are_said_loudly() {
    let lab = Gateway::up(&["--profile", "proxy-performance-by-backend", "--quiet"]);
    let mut browser = page(&lab, DESK);
    assert_eq!(chat("Hello", 4).answered(lab.address).status, 200);
    browser.until("the filter's warning", "document.getElementById('warnings').textContent.includes('by-kv-backend removes candidates')");
    browser.until("a row", "document.querySelector('#stream tr')");
    browser.press("Enter");
    browser.until("the decision", IS_OPEN);
    let receipt = opened_receipt(&mut browser, &lab);
    assert_eq!(
        receipt["profiles"][0]["filtered"].as_array().unwrap().len(),
        1
    );
    check_tables(&mut browser, &receipt);

    // Requests that go past the picker, and none through it.
    until("the warning of an idle picker", || {
        let past = chat("Hello", 1).header("x-kv-backend", "fs");
        assert_eq!(past.answered(lab.address).status, 200);
        let said = browser.eval("document.getElementById('warnings').textContent");
        let said = said.as_str().unwrap();
        said.contains("The picker is idle while traffic flows")
            .then_some(())
    });
    assert_eq!(chat("Hello", 1).answered(lab.address).status, 200);
    browser.until(
        "the warning to go once the picker works",
        "!document.getElementById('warnings').textContent.includes('picker is idle')",
    );
    check_calm(&mut browser, &lab);

    drop(lab);
    browser.until(
        "the warning of a server that has gone",
        "document.getElementById('warnings').textContent.includes('The server does not answer')",
    );
}

#[test]
fn foreign_names_are_text() {
    let hostile = "<img src=x onerror=\"document.title='taken'\">";
    let backend = Backend::start(answer);
    let files = Scratch::new("foreign");
    let name = "<b>bold</b>";
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[(name, backend.address()), ("other", backend.address())]),
    );
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);
    let mut browser = page(&gateway, DESK);
    let mut body = chat_body("Hello", 4);
    body["model"] = json!(hostile);
    for _ in 0..4 {
        let response = Request::post("/v1/chat/completions", &body).answered(gateway.address);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    browser.until(
        "four rows",
        "document.querySelectorAll('#stream tr').length === 4",
    );
    assert_eq!(
        browser.eval("document.querySelector('#stream .c-model').title"),
        hostile
    );
    browser.press("Enter");
    browser.until("the decision", IS_OPEN);
    assert_eq!(
        browser.eval("document.querySelector('#decision [data-c=model]').textContent"),
        hostile
    );
    for view in ["2", "3", "1"] {
        browser.press(view);
        browser.until("a quiet moment", "true");
    }
    let made =
        browser.eval("document.querySelectorAll('img, main b b, #stream b, #load-rows b').length");
    assert_eq!(made, 0, "no element came from a name");
    let text = browser.eval("document.getElementById('load-rows').textContent");
    assert!(text.as_str().unwrap().contains(name), "{text}");
    assert_eq!(browser.eval("document.title"), "pointsman");
    check_calm(&mut browser, &gateway);
}

/// A plan that looks at its thousand endpoints rarely.
const RARELY: &str = "\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: active-request-scorer
- type: kv-cache-utilization-scorer
- type: max-score-picker
- type: single-profile-handler
- type: metrics-data-source
  parameters: {interval: 5s}
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: active-request-scorer
  - pluginRef: kv-cache-utilization-scorer
  - pluginRef: max-score-picker
";

/// Makes `window.ready(done)`: waits for the frame after `done` holds.
const READY: &str = "(() => {
    window.ready = (done) => new Promise((resolve) => {
        const look = () => done() ? requestAnimationFrame(() => resolve(true)) : requestAnimationFrame(look);
        look();
    });
})()";

/// Milliseconds that the page's thread has worked so far.
fn worked(browser: &mut Browser) -> f64 {
    let answer = browser.call("Performance.getMetrics", json!({}));
    let metrics = answer["metrics"].as_array().unwrap().iter();
    let tasks = metrics
        .filter(|metric| metric["name"] == "TaskDuration")
        .find_map(|metric| metric["value"].as_f64());
    tasks.unwrap() * 1000.0
}

#[test]
fn a_thousand_endpoints_stay_quick_and_bounded() {
    let backend = Backend::start(answer);
    let names: Vec<String> = (0..1000).map(|n| format!("engine-{n:04}")).collect();
    let rows: Vec<(&str, SocketAddr)> = names
        .iter()
        .map(|name| (name.as_str(), backend.address()))
        .collect();
    let files = Scratch::new("thousand-names");
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&rows));
    let config = files.file("rarely.yaml", RARELY);
    let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
    assert_eq!(gateway.endpoints().len(), 1000);
    let _traffic = Traffic::at(gateway.address);
    let mut browser = page(&gateway, DESK);
    browser.eval(READY);
    browser.until(
        "a full stream",
        "document.querySelectorAll('#stream tr').length >= 100",
    );

    // Work of the page's thread, not time that passes: a busy machine makes everything late.
    browser.call("Performance.enable", json!({"timeDomain": "threadTicks"}));
    let mut timed = |press: &str, done: &str| -> f64 {
        let before = worked(&mut browser);
        browser.press(press);
        browser.eval(&format!("ready(() => {done})"));
        worked(&mut browser) - before
    };
    let mut best = std::collections::BTreeMap::<&str, f64>::new();
    for _ in 0..10 {
        let opened = timed(
            "Enter",
            &format!("{IS_OPEN} && document.querySelectorAll('#decision tbody tr').length >= 32"),
        );
        timed("Escape", "document.getElementById('decision').hidden");
        let load = timed(
            "2",
            "!document.getElementById('view-load').hidden && document.querySelectorAll('#load-rows tr').length === 50",
        );
        let plan = timed(
            "3",
            "document.querySelectorAll('#plan .card').length >= 3 && !document.getElementById('view-plan').hidden",
        );
        let back = timed("1", "!document.getElementById('view-decisions').hidden");
        for (what, took) in [
            ("opened", opened),
            ("load", load),
            ("plan", plan),
            ("back", back),
        ] {
            let least = best.entry(what).or_insert(f64::INFINITY);
            *least = least.min(took);
        }
    }
    println!("best of ten, milliseconds of work: {best:?}");
    assert!(best.values().all(|took| *took < 200.0), "{best:?}");

    let nodes = |browser: &mut Browser| {
        browser
            .eval("document.querySelectorAll('*').length")
            .as_u64()
            .unwrap()
    };
    let before = nodes(&mut browser);
    let seen = browser.eval("document.getElementById('pulse-served').textContent");
    let seen = number(seen.as_str().unwrap());
    browser.until("a few hundred more decisions", &format!("Number(document.getElementById('pulse-served').textContent.replaceAll(',', '')) > {seen} + 400"));
    let after = nodes(&mut browser);
    println!("elements: {before}, and after 400 more decisions {after}");
    assert!(after < 6000, "{after} elements");

    browser.press("Enter");
    browser.until("the decision", IS_OPEN);
    let receipt = opened_receipt(&mut browser, &gateway);
    assert_eq!(receipt["truncated"], true);
    check_tables(&mut browser, &receipt);
    keep("thousand-decision", &browser.screenshot());
    browser.press("Escape");
    browser.press("2");
    browser.until("the grid", "!document.getElementById('heat-card').hidden && document.getElementById('heat').width > 100");
    browser.eval("(() => { const by = document.getElementById('load-metric'); by.value = 'kvUsage'; by.dispatchEvent(new Event('change')); })()");
    keep("thousand-load", &browser.screenshot());
    // Typed into the filter, a name leaves its row alone.
    browser.press("/");
    for letter in "engine-0777".chars() {
        browser.press(&letter.to_string());
    }
    browser.until(
        "one endpoint",
        "document.querySelectorAll('#load-rows tr').length === 1",
    );
    assert_eq!(
        browser.eval("document.querySelector('#load-rows th').textContent"),
        "default/engine-0777"
    );
    check_calm(&mut browser, &gateway);
}

#[test]
fn light_dark_and_a_phone_are_readable() {
    let lab = Gateway::up(&[
        "--profile",
        "default",
        "--seed",
        "7",
        "--quiet",
        "--pairs",
        "p2p=2,fs=2",
    ]);
    burst(36, 9, |number| {
        let prompt = format!("Question {} of today: why is the sky blue?", number % 12);
        let request = chat(&prompt, 12).header("x-request-id", &format!("chat-{number:03}"));
        assert_eq!(request.answered(lab.address).status, 200);
    });
    let mut browser = page(&lab, DESK);
    browser.until(
        "the stream",
        "document.querySelectorAll('#stream .chip.good').length >= 36",
    );
    browser.until(
        "a rate",
        "document.getElementById('pulse-rate').textContent !== '–'",
    );
    // New rows are lit for a moment.
    browser
        .eval("Promise.all(document.getAnimations().map((one) => one.finished)).then(() => true)");
    keep("light-stream", &browser.screenshot());
    let mut papers = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefers(scheme);
        check_contrast(&mut browser, scheme);
        if scheme == "dark" {
            keep("dark-stream", &browser.screenshot());
        }
        browser.press("j");
        browser.press("Enter");
        browser.until("the decision", IS_OPEN);
        check_contrast(&mut browser, scheme);
        let picture = browser.screenshot();
        keep(&format!("{scheme}-decision"), &picture);
        if scheme == "light" && std::env::var_os("POINTSMAN_GENERATE").is_some() {
            std::fs::write(workspace().join("docs/pictures/live-page.png"), &picture).unwrap();
        }
        browser.press("Escape");
        for (key, view) in [("2", "load"), ("3", "plan"), ("1", "decisions")] {
            browser.press(key);
            browser.until(view, &format!("!document.getElementById('view-{view}').hidden && document.querySelector('#view-{view} tbody tr, #view-{view} .card')"));
            check_contrast(&mut browser, scheme);
            keep(&format!("{scheme}-{view}"), &browser.screenshot());
        }
        papers.push(browser.eval("getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(papers[0], papers[1], "dark is another paper");
    // The reader's own choice goes before the system's, and is kept.
    browser.press("t");
    assert_eq!(
        browser.eval("getComputedStyle(document.body).backgroundColor"),
        papers[0]
    );
    let again = format!("http://{}/", lab.admin);
    browser.visit(&again);
    browser.until("the page again", "document.querySelector('#stream tr')");
    assert_eq!(
        browser.eval("getComputedStyle(document.body).backgroundColor"),
        papers[0]
    );

    let (width, height) = PHONE;
    browser.size(width, height);
    for (key, view) in [
        ("1", "decisions"),
        ("2", "load"),
        ("3", "plan"),
        ("1", "decisions"),
    ] {
        browser.press(key);
        browser.until(view, &format!("!document.getElementById('view-{view}').hidden && document.querySelector('#view-{view} tbody tr, #view-{view} .card')"));
        check_width(&mut browser, view);
        keep(&format!("phone-{view}"), &browser.screenshot());
    }
    browser.press("Enter");
    browser.until("the decision", IS_OPEN);
    check_width(&mut browser, "decision");
    keep("phone-decision", &browser.screenshot());
    check_calm(&mut browser, &lab);
}

#[test]
fn decisions_under_way_when_they_are_listed_end_in_the_list_too() {
    let lab = Gateway::up(&["--quiet", "--speed", "0.2"]);
    let mut browser = page(&lab, DESK);
    let address = lab.address;
    let slow =
        [1, 2].map(|_| std::thread::spawn(move || chat("slowly", 60).answered(address).status));
    browser.until(
        "two decisions under way",
        "document.querySelectorAll('#stream .chip.wait').length === 2",
    );
    for one in slow {
        assert_eq!(one.join().unwrap(), 200);
    }
    browser.until(
        "both ended",
        "document.querySelectorAll('#stream .chip.good').length === 2 && !document.querySelector('#stream .chip.wait')",
    );
}

#[test]
fn a_repeated_id_opens_the_one_that_was_chosen() {
    let lab = Gateway::up(&["--quiet"]);
    for words in ["short", "a good deal longer than the first one was"] {
        assert_eq!(
            chat(words, 4)
                .header("x-request-id", "twice")
                .answered(lab.address)
                .status,
            200
        );
    }
    let mut browser = page(&lab, DESK);
    browser.until(
        "two rows",
        "document.querySelectorAll('#stream tr').length === 2",
    );
    browser.press("j");
    browser.press("j");
    browser.press("Enter");
    browser.until("the decision", IS_OPEN);
    let receipt = opened_receipt(&mut browser, &lab);
    let latest = lab.admin_json("/debug/decisions/twice");
    let size = |receipt: &Value| receipt["promptBytes"].as_u64().unwrap();
    assert!(
        size(&receipt) < size(&latest),
        "the older one is open: {receipt}"
    );
    assert!(
        browser
            .eval("document.querySelector('#decision').textContent")
            .as_str()
            .unwrap()
            .contains(&format!("prompt {} bytes", size(&receipt)))
    );
    assert_eq!(receipt["model"], MODEL);
}
