//! A configuration that changes while requests are served: in place, by rename, as a mounted ConfigMap; broken, gone.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pointsman_tests::answer::chat;
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::Gateway;
use serde_json::Value;

const RELOADS: usize = 100;

/// A configuration that differs from every other number's.
fn numbered(number: usize) -> String {
    format!(
        "plugins:\n- {{type: active-request-scorer}}\n- {{type: queue-scorer}}\nschedulingProfiles:\n- name: default\n  plugins:\n  - {{pluginRef: active-request-scorer, weight: {}}}\n  - {{pluginRef: queue-scorer, weight: 0.5}}\n",
        number + 1
    )
}

fn plan(lab: &Gateway) -> Value {
    lab.admin_json("/debug/plan")
}

/// Writes beside the file and renames over it, so that no reader sees half of it.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

#[track_caller]
fn wait_generation(lab: &Gateway, generation: u64) -> Value {
    until(&format!("plan number {generation}"), || {
        let plan = plan(lab);
        (plan["generation"].as_u64() == Some(generation)).then_some(plan)
    })
}

#[track_caller]
fn wait_refusals(lab: &Gateway, refusals: u64) -> Value {
    until(&format!("{refusals} refusals"), || {
        let plan = plan(lab);
        (plan["reloads"]["refused"].as_u64() == Some(refusals)).then_some(plan)
    })
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request_and_mix_no_plans() {
    let scratch = Scratch::new("reloads");
    let file = scratch.file("config.yaml", &numbered(0));
    let lab = Gateway::up(&["--config-file", &file, "--speed", "50"]);
    let mut hashes = BTreeMap::new();
    let first = plan(&lab);
    hashes.insert(1, first["hash"].as_str().unwrap().to_owned());
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut seen = BTreeSet::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let response = chat("while plans change", 2).answered(lab.address);
                    assert_eq!(response.status, 200, "{}", response.text());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 1..=RELOADS {
            replace(Path::new(&file), &numbered(number));
            let plan = wait_generation(&lab, number as u64 + 1);
            hashes.insert(number as u64 + 1, plan["hash"].as_str().unwrap().to_owned());
            for receipt in lab.decisions(50) {
                let of = &receipt["plan"];
                seen.insert((
                    of["generation"].as_u64().unwrap(),
                    of["hash"].as_str().unwrap().to_owned(),
                ));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let reloads = plan(&lab)["reloads"].clone();
    assert_eq!(
        (&reloads["taken"], &reloads["refused"]),
        (&RELOADS.into(), &0.into())
    );
    let distinct: BTreeSet<&String> = hashes.values().collect();
    assert_eq!(distinct.len(), RELOADS + 1);
    for (generation, hash) in &seen {
        assert_eq!(
            hashes.get(generation),
            Some(hash),
            "plan {generation} is of another file"
        );
    }
    assert!(
        seen.len() > RELOADS / 2,
        "{} plans decided {} requests",
        seen.len(),
        served.into_inner()
    );
    lab.wait_idle();
}

#[test]
fn a_half_written_or_missing_file_leaves_the_plan_in_force() {
    let scratch = Scratch::new("half");
    let file = scratch.file("config.yaml", &numbered(0));
    let lab = Gateway::up(&["--config-file", &file, "--speed", "50"]);
    let hash = plan(&lab)["hash"].clone();
    let whole = numbered(1);
    std::fs::write(&file, &whole[..whole.len() - 9]).unwrap();
    let refused = wait_refusals(&lab, 1);
    assert_eq!(
        (&refused["generation"], &refused["hash"]),
        (&1.into(), &hash)
    );
    let last = &refused["reloads"]["last"];
    assert_eq!(last["ok"], false);
    assert!(
        last["faults"][0].as_str().unwrap().contains("config.yaml:"),
        "{last}"
    );
    assert_eq!(chat("still served", 2).answered(lab.address).status, 200);

    std::fs::remove_file(&file).unwrap();
    let gone = wait_refusals(&lab, 2);
    assert_eq!(gone["hash"], hash);
    assert!(
        gone["reloads"]["last"]["faults"][0]
            .as_str()
            .unwrap()
            .contains("cannot read")
    );
    assert_eq!(chat("still served", 2).answered(lab.address).status, 200);

    std::fs::write(&file, &whole).unwrap();
    let taken = wait_generation(&lab, 2);
    assert_ne!(taken["hash"], hash);
    let metrics = Request::get("/metrics").answered(lab.admin).text();
    assert!(
        metrics.contains("pointsman_plan_reloads_total{result=\"taken\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("pointsman_plan_reloads_total{result=\"refused\"} 2"),
        "{metrics}"
    );
    let refusals = lab.process.lines();
    let told = refusals
        .iter()
        .filter(|line| line.contains("is refused, the plan in force stays"));
    assert_eq!(told.count(), 2, "each state of the file is told once");
}

#[test]
fn every_fault_of_a_refused_file_is_told() {
    let scratch = Scratch::new("faults");
    let file = scratch.file("config.yaml", &numbered(0));
    let lab = Gateway::up(&["--config-file", &file]);
    replace(
        Path::new(&file),
        "plugins:\n- {type: nonsense}\n- {type: queue-scorer, nmae: q}\n",
    );
    let refused = wait_refusals(&lab, 1);
    let faults = refused["reloads"]["last"]["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[1].as_str().unwrap().contains("did you mean 'name'?"),
        "{faults:?}"
    );
}

#[test]
fn a_mounted_config_map_is_followed_through_its_link() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new("mounted");
    let folder = scratch.path().to_owned();
    let version = |number: usize| {
        let name = format!("..version_{number}");
        std::fs::create_dir(folder.join(&name)).unwrap();
        std::fs::write(folder.join(&name).join("config.yaml"), numbered(number)).unwrap();
        let _ = std::fs::remove_file(folder.join("..data_tmp"));
        symlink(&name, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    version(0);
    symlink("..data/config.yaml", folder.join("config.yaml")).unwrap();
    let file = folder.join("config.yaml");
    let lab = Gateway::up(&["--config-file", file.to_str().unwrap()]);
    for number in 1..4 {
        version(number);
        let plan = wait_generation(&lab, number as u64 + 1);
        let weight = plan["profiles"][0]["scorers"][0]["weight"].as_f64();
        assert_eq!(weight, Some(number as f64 + 1.0));
    }
}

#[test]
fn a_storm_of_writes_in_place_ends_with_the_last_one_and_fails_no_request() {
    const WRITES: usize = 300;
    let scratch = Scratch::new("storm");
    let file = scratch.file("config.yaml", &numbered(0));
    let lab = Gateway::up(&["--config-file", &file, "--speed", "50"]);
    let (over, begun) = (AtomicBool::new(false), Instant::now());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let response = chat("in the storm", 2).answered(lab.address);
                assert_eq!(response.status, 200, "{}", response.text());
            }
        });
        // A hundred times a second and more, each cut in two by whoever looks in between.
        for number in 1..=WRITES {
            let text = numbered(number);
            let (head, tail) = text.split_at(text.len() / 2);
            let mut open = std::fs::File::create(&file).unwrap();
            open.write_all(head.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(3));
            open.write_all(tail.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(3));
        }
        until("the last plan", || {
            let weight = plan(&lab)["profiles"][0]["scorers"][0]["weight"].as_f64();
            (weight == Some(WRITES as f64 + 1.0)).then_some(())
        });
        over.store(true, Ordering::Relaxed);
    });
    let reloads = plan(&lab)["reloads"].clone();
    assert_eq!(reloads["last"]["ok"], true, "{reloads}");
    // A file is looked at ten times a second at most, however often it is written.
    let judged = reloads["taken"].as_u64().unwrap() + reloads["refused"].as_u64().unwrap();
    let looks = begun.elapsed().as_millis() as u64 / 100 + 1;
    assert!(judged <= looks, "{reloads} in {looks} looks");
    lab.wait_idle();
}
