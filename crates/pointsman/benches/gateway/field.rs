//! Where everything of one run listens, and how each peer is started there.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use pointsman_bench::children::{Launch, free_ports};
use pointsman_bench::rounds::Peer;

/// No proxy: load straight to one mock.
pub(crate) const DIRECT: &str = "direct";
/// The yardstick.
pub(crate) const BASELINE: &str = "baseline";
/// The yardstick, reading requests to their end first.
pub(crate) const BUFFERED: &str = "baseline --buffer";
/// Ours, with the picker inside.
pub(crate) const GATEWAY: &str = "pointsman gateway";
/// Ours, over a prefill and a decode server.
pub(crate) const PROXY: &str = "pointsman proxy";

/// Addresses and files of one run.
pub(crate) struct Field {
    /// The mocks, in the order of their names.
    pub(crate) mocks: Vec<SocketAddr>,
    listen: SocketAddr,
    admin: SocketAddr,
    endpoints: PathBuf,
    sut_cpu: usize,
    profile: String,
}

impl Field {
    pub(crate) fn lay(sut_cpu: usize, profile: &str) -> anyhow::Result<Self> {
        let first = free_ports(6)?;
        let at = |offset: u16| SocketAddr::from(([127, 0, 0, 1], first + offset));
        let mocks: Vec<SocketAddr> = (0..4).map(at).collect();
        let mut text = String::from("endpoints:\n");
        for (index, mock) in mocks.iter().enumerate() {
            text += &format!(
                "- {{name: m{index}, namespace: default, address: {}, port: \"{}\", labels: {{}}}}\n",
                mock.ip(),
                mock.port()
            );
        }
        let file = format!("pointsman-bench-{}-endpoints.yaml", std::process::id());
        let endpoints = std::env::temp_dir().join(file);
        std::fs::write(&endpoints, text)
            .with_context(|| format!("cannot write {}", endpoints.display()))?;
        Ok(Self {
            mocks,
            listen: at(4),
            admin: at(5),
            endpoints,
            sut_cpu,
            profile: profile.to_owned(),
        })
    }

    fn peer(&self, name: &str, mut launch: Launch) -> Peer {
        launch.cpu = Some(self.sut_cpu);
        Peer {
            name: name.to_owned(),
            launch: Some(launch),
            target: self.listen,
        }
    }

    fn direct(&self) -> Peer {
        Peer {
            name: DIRECT.to_owned(),
            launch: None,
            target: self.mocks[0],
        }
    }

    fn baseline(&self, name: &str, flags: &[&str]) -> anyhow::Result<Peer> {
        let upstreams: Vec<String> = self.mocks.iter().map(SocketAddr::to_string).collect();
        let mut args = vec![
            "baseline".to_owned(),
            format!("--listen={}", self.listen),
            format!("--upstreams={}", upstreams.join(",")),
        ];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Ok(self.peer(name, Launch::role(name, args)?))
    }

    fn ours(&self, name: &str, args: Vec<String>) -> Peer {
        let mut launch = Launch::new(name, env!("CARGO_BIN_EXE_pointsman"), args);
        // One line per request is for people; the other peers write none either.
        launch.env.push(("POINTSMAN_QUIET".into(), "true".into()));
        self.peer(name, launch)
    }

    /// What the gateway is compared with, and the gateway.
    pub(crate) fn gateways(&self) -> anyhow::Result<Vec<Peer>> {
        let gateway = vec![
            "gateway".to_owned(),
            format!("--listen={}", self.listen),
            format!("--admin={}", self.admin),
            format!("--profile={}", self.profile),
            format!("--endpoints={}", self.endpoints.display()),
        ];
        Ok(vec![
            self.direct(),
            self.baseline(BASELINE, &[])?,
            self.baseline(BUFFERED, &["--buffer"])?,
            self.ours(GATEWAY, gateway),
        ])
    }

    /// What the P/D proxy is compared with, and the proxy.
    pub(crate) fn proxies(&self) -> anyhow::Result<Vec<Peer>> {
        let proxy = vec![
            "proxy".to_owned(),
            format!("--listen={}", self.listen),
            "--kind=fs".to_owned(),
            format!("--prefill=http://{}", self.mocks[0]),
            format!("--decode=http://{}", self.mocks[1]),
        ];
        Ok(vec![
            self.direct(),
            self.baseline(BASELINE, &[])?,
            self.ours(PROXY, proxy),
        ])
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        // Left behind, it would only be a small file.
        let _ = std::fs::remove_file(&self.endpoints);
    }
}
