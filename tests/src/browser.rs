//! A real Chromium without a window, driven over its DevTools protocol.
//!
//! The browser reads commands from its file descriptor 3 and writes answers and events to 4, each a JSON text that ends
//! in a zero byte. Two named pipes and a shell that opens them as 3 and 4 are all it takes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::patience::LONG;
use crate::process::Process;
use crate::scratch::Scratch;

/// A browser with one page. Dropping it ends the browser.
pub struct Browser {
    input: File,
    messages: Receiver<Value>,
    events: Vec<Value>,
    next: u64,
    session: String,
    // In this order: the process ends before its profile goes.
    process: Process,
    _profile: Scratch,
}

/// The Chromium that the tests use.
///
/// # Panics
/// When there is none.
pub fn chromium() -> PathBuf {
    let set = std::env::var_os("POINTSMAN_CHROMIUM").filter(|value| !value.is_empty());
    if let Some(path) = set.map(PathBuf::from) {
        assert!(
            path.is_file(),
            "POINTSMAN_CHROMIUM={} is no file",
            path.display()
        );
        return path;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
        .expect("no Chromium: run `cargo xtask setup` once, or name one by POINTSMAN_CHROMIUM")
}

impl Browser {
    /// Starts a browser with an empty page of this size in CSS pixels.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(width: u32, height: u32) -> Self {
        let profile = Scratch::new("browser");
        let pipes = ["commands", "answers"].map(|name| profile.path().join(name));
        let made = Command::new("mkfifo").args(&pipes).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo works");
        let mut command = Command::new("sh");
        let [commands, answers] = pipes.each_ref().map(|pipe| pipe.display().to_string());
        command
            .arg("-c")
            .arg(format!("exec \"$0\" \"$@\" 3<'{commands}' 4>'{answers}'"))
            .arg(chromium())
            .args([
                "--headless",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                "--force-device-scale-factor=1",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={width},{height}"));
        let process = Process::start("chromium", command);
        // Opening a named pipe waits for the other side, in the order of the shell.
        let input = opened(commands.into(), true);
        let output = opened(answers.into(), false);
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut text = Vec::new();
            while reader.read_until(0, &mut text).is_ok_and(|read| read > 0) {
                text.pop();
                let message = serde_json::from_slice(&text).unwrap_or(Value::Null);
                if sender.send(message).is_err() {
                    return;
                }
                text.clear();
            }
        });
        let mut browser = Self {
            input,
            messages,
            events: Vec::new(),
            next: 1,
            session: String::new(),
            process,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = target["targetId"].as_str().unwrap_or_default().to_owned();
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target, "flatten": true}),
        );
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.size(width, height);
        browser
    }

    /// Gives the page this size, as another window or a phone would.
    pub fn size(&mut self, width: u32, height: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    /// What the system says about colours: `light` or `dark`.
    pub fn prefers(&mut self, scheme: &str) {
        self.call(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// Goes to an address and waits until the document is there.
    ///
    /// # Panics
    /// When it is not within [`LONG`].
    #[track_caller]
    pub fn visit(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.until(
            &format!("{url} to load"),
            "document.readyState === 'complete'",
        );
    }

    /// Evaluates an expression in the page; a promise is waited for.
    ///
    /// # Panics
    /// When it throws.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {}",
            answer["exceptionDetails"]
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    ///
    /// # Panics
    /// When it does not become true within [`LONG`].
    #[track_caller]
    pub fn until(&mut self, what: &str, expression: &str) {
        let deadline = Instant::now() + LONG;
        while self.eval(&format!("Boolean({expression})")) != true {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}; the page says {}",
                self.eval("document.body ? document.body.innerText.slice(0, 2000) : ''")
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Presses and releases a key by its name (`j`, `Enter`, `Escape`, `ArrowDown`, `/`).
    pub fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            one if one.chars().count() == 1 => one,
            _ => "",
        };
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => 0,
        };
        let down = if text.is_empty() {
            "rawKeyDown"
        } else {
            "keyDown"
        };
        let press = json!({"type": down, "key": key, "text": text, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", press);
        let release = json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", release);
    }

    /// A picture of what the window shows, as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"}));
        decode(answer["data"].as_str().unwrap_or_default())
    }

    /// The events of this name so far: their parameters.
    pub fn events(&mut self, method: &str) -> Vec<Value> {
        while let Ok(message) = self.messages.try_recv() {
            self.events.push(message);
        }
        let named = self.events.iter().filter(|event| event["method"] == method);
        named.map(|event| event["params"].clone()).collect()
    }

    /// Calls a method of the protocol.
    ///
    /// # Panics
    /// When the browser answers with an error or not at all.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.input
            .write_all(&text)
            .unwrap_or_else(|error| panic!("{method}: {error}"));
        let deadline = Instant::now() + LONG;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(mut answer) if answer["id"] == id => {
                    assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                    return answer["result"].take();
                }
                Ok(event) => self.events.push(event),
                Err(RecvTimeoutError::Timeout) => panic!("{method}: no answer"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser has gone"),
            }
        }
    }
}

impl Drop for Browser {
    /// Lets it end by itself, so that its own children are gone before its profile is removed.
    fn drop(&mut self) {
        let _ = self
            .input
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.process.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Opens one side of a named pipe; the other side must be opened within [`LONG`].
fn opened(path: PathBuf, write: bool) -> File {
    let (sender, opened) = channel();
    std::thread::spawn(move || {
        let file = if write {
            File::options().write(true).open(&path)
        } else {
            File::open(&path)
        };
        let _ = sender.send(file);
    });
    let file = opened.recv_timeout(LONG);
    file.expect("Chromium starts and opens its pipes")
        .expect("the named pipe opens")
}

/// Base64 with padding, as the protocol carries pictures.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for c in text.bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

/// Keeps a picture: in `$POINTSMAN_SCREENSHOTS`, else beside the build outputs.
///
/// # Panics
/// When it cannot be written.
pub fn keep(name: &str, picture: &[u8]) -> PathBuf {
    let folder = std::env::var_os("POINTSMAN_SCREENSHOTS").filter(|value| !value.is_empty());
    let folder = folder.map_or_else(
        || {
            let program = std::env::current_exe().expect("a test has a path");
            let target = program.ancestors().nth(3).unwrap_or(Path::new("."));
            target.join("tmp/screenshots")
        },
        PathBuf::from,
    );
    std::fs::create_dir_all(&folder).expect("the folder for pictures can be made");
    let path = folder.join(format!("{name}.png"));
    std::fs::write(&path, picture).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn base64_is_read_with_every_padding() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
        ] {
            assert_eq!(decode(text), bytes.as_bytes(), "{text}");
        }
        assert_eq!(decode("+/+/"), [0xfb, 0xff, 0xbf]);
    }
}
