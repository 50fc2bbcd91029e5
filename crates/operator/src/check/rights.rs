//! What the picker's account must be allowed, and the Role that allows it.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Verdict;
use crate::check::facts::{Facts, Right, namespace_of};
use crate::check::installation::Installation;
use crate::kinds::POOL;

/// What a picker needs in the namespace of its pool, as group and resource.
const READS: [(&str, &str); 2] = [("", "pods"), (POOL.group, POOL.plural)];
const VERBS: [&str; 3] = ["get", "list", "watch"];

/// The rights to be asked about.
pub fn needed(installation: &Installation<'_>) -> Vec<Right> {
    let namespace = namespace_of(installation.pool);
    let accounts: BTreeSet<String> = installation
        .pickers
        .iter()
        .map(|pod| {
            let account = pod["spec"]["serviceAccountName"].as_str();
            format!("{}/{}", namespace_of(pod), account.unwrap_or("default"))
        })
        .collect();
    let mut rights = Vec::new();
    for account in accounts {
        for (group, resource) in READS {
            for verb in VERBS {
                rights.push(Right {
                    account: account.clone(),
                    namespace: namespace.to_owned(),
                    verb: verb.to_owned(),
                    group: group.to_owned(),
                    resource: resource.to_owned(),
                });
            }
        }
    }
    rights
}

/// Judges what was answered.
pub fn judge(facts: &Facts) -> Verdict {
    let rights = &facts.rights;
    if let Some(why) = &rights.untold {
        return Verdict::of(format!("could not be asked: {why}"));
    }
    let held = rights.asked.iter().filter(|(_, held)| *held).count();
    let mut verdict = Verdict::of(format!("{held} of {} rights are held", rights.asked.len()));
    let mut missing: BTreeMap<(&str, &str), Vec<&Right>> = BTreeMap::new();
    for (right, held) in &rights.asked {
        if !held {
            let place = (right.account.as_str(), right.namespace.as_str());
            missing.entry(place).or_default().push(right);
        }
    }
    for ((account, namespace), rights) in missing {
        let said: Vec<String> = rights
            .iter()
            .map(|right| format!("{} {}", right.verb, right.resource))
            .collect();
        verdict.add(
            format!(
                "the picker's account {account} may not {} in {namespace}",
                said.join(", ")
            ),
            role(account, namespace, &rights),
        );
    }
    verdict
}

/// A Role with these rights, and its binding.
fn role(account: &str, namespace: &str, rights: &[&Right]) -> String {
    let (of, name) = account.split_once('/').unwrap_or(("default", account));
    let mut rules: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for right in rights {
        let rule = rules.entry((&right.group, &right.resource)).or_default();
        rule.push(&right.verb);
    }
    let rules: Vec<String> = rules
        .into_iter()
        .map(|((group, resource), verbs)| rule(group, resource, &verbs))
        .collect();
    format!(
        "kubectl apply -f - <<'EOF'\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name}-reads, namespace: {namespace}}}\nrules:\n{}---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}-reads, namespace: {namespace}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}-reads}}\nsubjects: [{{kind: ServiceAccount, name: {name}, namespace: {of}}}]\nEOF",
        rules.concat()
    )
}

/// One rule as YAML, a line.
pub fn rule(group: &str, resource: &str, verbs: &[&str]) -> String {
    format!(
        "- {{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{}]}}\n",
        verbs.join(", ")
    )
}
