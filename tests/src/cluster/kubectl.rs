//! What tests do with a cluster: kubectl, namespaces, identities.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Cluster;

impl Cluster {
    /// Runs kubectl as administrator and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments)
            .unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    /// The same; what it said on failure.
    ///
    /// # Errors
    /// Kubectl failed.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.run(arguments, "")
    }

    /// Applies objects written as YAML.
    ///
    /// # Panics
    /// When the API server refuses one.
    #[track_caller]
    pub fn apply(&self, yaml: &str) {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.run(&arguments, yaml)
            .unwrap_or_else(|error| panic!("apply: {error}\n{yaml}"));
    }

    /// Merges JSON into an object's status.
    ///
    /// # Panics
    /// When the API server refuses it.
    #[track_caller]
    pub fn patch_status(&self, namespace: &str, object: &str, patch: &str) {
        self.kubectl(&[
            "patch",
            "-n",
            namespace,
            object,
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        ]);
    }

    /// A new namespace whose name begins with `stem`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    pub fn namespace(&self, stem: &str) -> String {
        // Relaxed: only the number itself must be unique.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{stem}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name]);
        name
    }

    /// A token of a ServiceAccount, which is made if it is missing.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn token(&self, namespace: &str, account: &str) -> String {
        self.apply(&format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {account}, namespace: {namespace}}}\n"
        ));
        let token = self.kubectl(&["create", "token", "-n", namespace, account, "--duration=2h"]);
        token.trim().to_owned()
    }

    /// A kubeconfig that acts as a ServiceAccount.
    ///
    /// # Panics
    /// When there is no token.
    #[track_caller]
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let token = self.token(namespace, account);
        self.write_kubeconfig(&format!("kubeconfig-{namespace}-{account}"), &token)
    }

    /// Writes a kubeconfig with this token.
    pub(super) fn write_kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: tests\n\
             clusters: [{{name: tests, cluster: {{server: \"{}\", certificate-authority: \"{}\"}}}}]\n\
             users: [{{name: tests, user: {{token: \"{token}\"}}}}]\n\
             contexts: [{{name: tests, context: {{cluster: tests, user: tests}}}}]\n",
            self.server(),
            self.file("certificates/apiserver.crt"),
        );
        self.write(name, &text);
        self.folder.join(name)
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(self.programs.join("kubectl"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg("--request-timeout=60s")
            .arg(format!("--cache-dir={}", self.file("kubectl")))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start kubectl: {error}"))?;
        if let Some(mut pipe) = child.stdin.take() {
            // A kubectl that has ended already says why below.
            let _ = pipe.write_all(input.as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}
