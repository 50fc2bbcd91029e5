//! The live page in a browser, as its tests share it: how it is opened, what must hold of it whatever it shows, and
//! backends and traffic for it to show.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::answer::chat;
use crate::backend::{Received, Reply};
use crate::browser::Browser;
use crate::server::Gateway;

/// A desk.
pub const DESK: (u32, u32) = (1280, 800);
/// A telephone.
pub const PHONE: (u32, u32) = (390, 844);

/// The page of a gateway, loaded and answered for the first time.
pub fn page(gateway: &Gateway, (width, height): (u32, u32)) -> Browser {
    let mut browser = Browser::start(width, height);
    browser.prefers("light");
    browser.visit(&format!("http://{}/", gateway.admin));
    browser.until(
        "the first answer",
        "document.getElementById('pulse-pool').textContent !== '–'",
    );
    browser
}

/// Nothing was asked of anybody else, and the browser has nothing to complain of.
///
/// # Panics
/// When something was.
#[track_caller]
pub fn check_calm(browser: &mut Browser, gateway: &Gateway) {
    let origin = format!("http://{}/", gateway.admin);
    let requests = browser.events("Network.requestWillBeSent");
    assert!(requests.len() > 8, "the page and its files: {requests:?}");
    for request in &requests {
        let url = request["request"]["url"].as_str().unwrap();
        assert!(
            url.starts_with(&origin) || url.starts_with("data:image/svg+xml"),
            "the page asked {url}"
        );
    }
    for name in [
        "Runtime.exceptionThrown",
        "Runtime.consoleAPICalled",
        "Log.entryAdded",
        "Network.loadingFailed",
        "Network.webSocketCreated",
    ] {
        let said = browser.events(name);
        assert!(said.is_empty(), "{name}: {said:?}");
    }
}

/// A number as the page writes it.
///
/// # Panics
/// When it is none.
#[track_caller]
pub fn number(text: &str) -> f64 {
    let plain = text.replace(',', "");
    plain
        .parse()
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// The receipt of the opened decision.
///
/// # Panics
/// When no decision is open.
pub fn opened_receipt(browser: &mut Browser, gateway: &Gateway) -> Value {
    let id = browser.eval("document.querySelector('#decision [data-c=id]').textContent");
    let key = browser.eval("document.getElementById('decision').dataset.key");
    let (id, key) = (id.as_str().unwrap(), key.as_str().unwrap());
    gateway.admin_json(&format!("/debug/decisions/{id}?key={key}"))
}

/// Whether a decision is open and shown.
pub const IS_OPEN: &str = "document.getElementById('decision').dataset.key && document.getElementById('decision').ariaBusy === 'false'";

/// A model server with a page of metrics that changes with every look.
pub fn answer(request: &Received, reply: &mut Reply) {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    if request.path == "/metrics" {
        // Relaxed: any order of looks will do.
        let look = LOOKS.fetch_add(1, Ordering::Relaxed);
        let kv = (look * 37 % 100) as f64 / 130.0;
        let page = format!(
            "vllm:num_requests_waiting {}\nvllm:num_requests_running {}\nvllm:kv_cache_usage_perc {kv}\n",
            (look * 13 % 17).saturating_sub(9),
            look * 7 % 12
        );
        return reply.whole(200, "text/plain", page.as_bytes());
    }
    if !request.path.starts_with("/v1/") {
        return reply.whole(404, "text/plain", b"");
    }
    let usage = json!({"prompt_tokens": 12, "completion_tokens": 1});
    reply.json(
        200,
        &json!({"id": "x", "object": "chat.completion", "choices": [], "usage": usage}),
    );
}

/// Requests one after the other until dropped.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Starts it.
    pub fn at(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let _ = chat("Hello", 1).send(address);
                std::thread::sleep(std::time::Duration::from_millis(4));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The contrast of text against what lies behind it, after WCAG 2, least first.
pub const CONTRAST: &str = "(() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgb = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
    const part = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    const behind = (node) => { for (let n = node; n; n = n.parentElement) { const c = getComputedStyle(n).backgroundColor; if (rgb(c)[3] === 255) return c; } return 'white'; };
    return [...document.querySelectorAll('body *')]
        .filter((n) => n.checkVisibility() && [...n.childNodes].some((c) => c.nodeType === 3 && c.data.trim()))
        .map((n) => { const [a, b] = [light(rgb(getComputedStyle(n).color)), light(rgb(behind(n)))]; return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), n.className || n.tagName, n.textContent.slice(0, 30)]; })
        .sort((a, b) => a[0] - b[0]);
})()";

/// Every text can be told from what lies behind it.
///
/// # Panics
/// When one cannot.
#[track_caller]
pub fn check_contrast(browser: &mut Browser, scheme: &str) {
    let found = browser.eval(CONTRAST);
    let found = found.as_array().unwrap();
    assert!(
        found.len() > 30,
        "{scheme}: only {} texts were seen",
        found.len()
    );
    assert!(
        found[0][0].as_f64().unwrap() >= 4.5,
        "{scheme}: {:?}",
        &found[..5]
    );
}

/// Nothing reaches beyond the telephone.
///
/// # Panics
/// When something does.
#[track_caller]
pub fn check_width(browser: &mut Browser, view: &str) {
    let wide = browser.eval("document.documentElement.scrollWidth");
    assert!(
        wide.as_u64().unwrap() <= u64::from(PHONE.0),
        "{view} is {wide} wide"
    );
}
