//! `pointsman` as a process: flags and environment, taken ports, exit codes, Ctrl-C.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;

use pointsman_tests::answer::{Events, chat, chat_stream};
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::process::{Process, Stream};
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, plain};
use pointsman_tests::{binary, port};

#[test]
fn ctrl_c_drains_and_exits_0() {
    let mut lab = Gateway::up(&["--speed", "0.5"]);
    let answering = chat_stream("Count slowly", 100).open(lab.address).unwrap();
    let mut events = Events::of(answering.body);
    events.next_data().unwrap().expect("a first event");
    lab.process.interrupt();
    let (rest, whole) = events.rest();
    assert!(whole, "the stream was cut by the drain");
    assert_eq!(rest.last().map(String::as_str), Some("[DONE]"));
    let status = lab.process.wait_end();
    assert_eq!(status.code(), Some(0), "{}", lab.process.lines().join("\n"));
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let mut lab = Gateway::up(&["--speed", "0.01"]);
    let answering = chat_stream("Take very long", 2000)
        .open(lab.address)
        .unwrap();
    lab.process.interrupt();
    until("the door to close", || {
        chat("late", 1).send(lab.address).is_err().then_some(())
    });
    assert!(
        lab.process.ended().is_none(),
        "it drains while a request runs"
    );
    lab.process.interrupt();
    lab.process.wait_end();
    drop(answering);
}

#[test]
fn a_taken_port_is_said_with_its_flag() {
    for flag in ["--listen", "--admin"] {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let taken = (taken.local_addr().unwrap(), taken);
        let other = if flag == "--listen" {
            "--admin"
        } else {
            "--listen"
        };
        let arguments = [
            "up",
            flag,
            &taken.0.to_string(),
            other,
            &port::free().to_string(),
        ]
        .map(str::to_owned);
        let mut process = Process::start("up", plain(&arguments));
        let status = process.wait_end();
        assert_eq!(status.code(), Some(1), "{}", process.lines().join("\n"));
        let text = process.lines_of(Stream::Err).join("\n");
        assert!(
            text.contains(&taken.0.port().to_string())
                && text.contains("in use")
                && text.contains(flag),
            "{flag}: {text}"
        );
    }
}

#[test]
fn wrong_usage_exits_2_and_a_refused_config_1() {
    let run = |arguments: &[&str]| {
        std::process::Command::new(binary::pointsman())
            .args(arguments)
            .output()
            .unwrap()
    };
    let wrong = run(&["up", "--no-such-flag"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert_eq!(
        run(&["up", "--profile", "no-such-profile"]).status.code(),
        Some(2)
    );

    let scratch = Scratch::new("refused");
    let config = scratch.file("bad.yaml", "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: max-scor-picker\n");
    let (listen, admin) = (port::free().to_string(), port::free().to_string());
    let refused = run(&[
        "up",
        "--config-file",
        &config,
        "--listen",
        &listen,
        "--admin",
        &admin,
    ]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        text.contains("max-scor-picker"),
        "the fault names what was found: {text}"
    );
}

#[test]
fn every_flag_also_by_environment() {
    let (listen, admin) = (port::free(), port::free());
    let mut command = plain(&["up".to_owned()]);
    command
        .env("POINTSMAN_LISTEN", listen.to_string())
        .env("POINTSMAN_ADMIN", admin.to_string());
    let process = Process::start("up", command);
    process.wait_line("the gateway's address", |line| {
        line.contains(&listen.to_string()).then_some(())
    });
    until("readiness", || {
        Request::get("/readyz")
            .send(admin)
            .is_ok_and(|response| response.status == 200)
            .then_some(())
    });
}

#[test]
fn a_server_whose_output_nobody_reads_goes_on() {
    let (listen, admin) = (port::free(), port::free());
    let mut child = std::process::Command::new(binary::pointsman())
        .args([
            "up",
            "--listen",
            &listen.to_string(),
            "--admin",
            &admin.to_string(),
        ])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before the first line is written or right after it: both must be survived.
    drop((child.stdout.take(), child.stderr.take()));
    let served = until("an answer", || chat("Hello", 2).send(listen).ok());
    let again = chat("Hello", 2)
        .send(listen)
        .map(|response| response.status);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        (served.status, again.ok()),
        (200, Some(200)),
        "{}",
        served.text()
    );
}
