//! Where candidates, metrics and the meaning of bodies come from: discovery, sources, parsers.
//!
//! Sources: the first binding of a metrics source to an engine extractor counts; none written and defaults not
//! switched off means the standard ones. Parsers: those listed, in order; none listed means OpenAI bodies, in the
//! second generation with everything else passed through.

use crate::config::catalogue::listed;
use crate::config::duration::parse_duration;
use crate::config::parts::Parts;
use crate::config::resolver::Resolver;
use crate::config::written::{Written, WrittenDataLayer, WrittenReference};
use crate::contract::data_layer::{EngineMetrics, FileDiscovery, MetricsSource, Parser};
use crate::contract::spec::{Generation, Role};

/// The standard source and extractor, which stand without being declared.
const SOURCE: &str = "metrics-data-source";
const EXTRACTOR: &str = "core-metrics-extractor";

/// Fields about what replicas know of each other.
const PEERS: &str = "dataLayer.peerDiscovery";
const SYNCER: &str = "dataLayer.crossReplicaSyncerPluginRef";

impl Resolver<'_> {
    /// What `dataLayer.discovery` refers to.
    pub fn discovery(&mut self, written: &Written, parts: &Parts) -> Option<FileDiscovery> {
        let reference = written.data_layer.as_ref()?.discovery.as_ref()?;
        let path = "dataLayer.discovery";
        let name = reference.plugin_ref.as_str();
        if !self.check_reference(name, path, "") || self.has_failed(name) {
            return None;
        }
        let found = parts.discovery(name);
        if found.is_none() {
            let message = format!(
                "discovery: plugin \"{name}\" does not implement EndpointDiscovery; use file-discovery"
            );
            self.error(format!("{path}.pluginRef"), message);
        }
        found
    }

    /// Where and which metrics are scraped; `None` where the document wants none.
    pub fn metrics(
        &mut self,
        written: &Written,
        parts: &Parts,
    ) -> Option<(MetricsSource, EngineMetrics)> {
        let Some(layer) = &written.data_layer else {
            return Some(parts.metrics());
        };
        self.check_replicas(layer);
        let mut bound = None;
        for (at, source) in layer.sources.iter().enumerate() {
            let path = format!("dataLayer.sources[{at}]");
            let name = source.plugin_ref.as_str();
            if name != SOURCE {
                let _ = self.check_reference(name, &path, "");
            }
            let mut extractor = None;
            for (at, reference) in source.extractors.iter().enumerate() {
                let path = format!("{path}.extractors[{at}]");
                if reference.plugin_ref != EXTRACTOR {
                    let _ = self.check_reference(&reference.plugin_ref, &path, "");
                }
                extractor = extractor.or_else(|| parts.extractor(&reference.plugin_ref));
            }
            let found = parts
                .source(name)
                .or_else(|| (name == SOURCE).then(MetricsSource::default));
            let Some(found) = found else { continue };
            if bound.is_none() {
                bound = Some((found, extractor.unwrap_or_default()));
            } else {
                let message = "only the first metrics source is in effect; remove this one";
                self.warning(path, message);
            }
        }
        match (bound, layer.inject_defaults) {
            (None, Some(false)) => {
                let message = "no metrics are scraped: scorers see every endpoint as never scraped";
                self.warning("dataLayer.injectDefaults", message);
                None
            }
            (None, _) => Some(parts.metrics()),
            (bound, _) => bound,
        }
    }

    fn check_replicas(&mut self, layer: &WrittenDataLayer) {
        let syncer = layer.cross_replica_syncer_plugin_ref.as_deref();
        let peers = layer.peer_discovery.as_ref().map(|p| p.plugin_ref.as_str());
        let peered = peers.is_some_and(|name| self.check_reference(name, PEERS, ""));
        let synced = syncer.is_some_and(|name| self.check_name(name, SYNCER, ""));
        for (path, known) in [(PEERS, peered), (SYNCER, synced)] {
            if known {
                self.warning(
                    path,
                    "not in effect yet: replicas do not share what they know",
                );
            }
        }
        if let Some(Err(why)) = layer
            .cross_replica_sync_interval
            .as_deref()
            .map(parse_duration)
        {
            self.error("dataLayer.crossReplicaSyncInterval", why);
        }
    }

    /// How request bodies are read, in order.
    pub fn parsers(&mut self, written: &Written, parts: &mut Parts) -> Vec<Parser> {
        let listed: &[WrittenReference] = written
            .request_handler
            .as_ref()
            .map_or(&[], |handler| &handler.parsers);
        if let Some(single) = &written.parser {
            let message = "this form is deprecated; write requestHandler.parsers";
            self.warning("parser", message);
            if listed.is_empty() {
                let parser = self.parser(&single.plugin_ref, "parser", parts);
                return parser.into_iter().collect();
            }
        }
        if listed.is_empty() {
            return match self.basis.compat {
                Generation::G1 => vec![Parser::OpenAi],
                Generation::G2 => vec![
                    Parser::OpenAi,
                    Parser::Anthropic,
                    Parser::VllmHttp,
                    Parser::Passthrough,
                ],
            };
        }
        let mut parsers = Vec::new();
        for (at, reference) in listed.iter().enumerate() {
            let path = format!("requestHandler.parsers[{at}]");
            parsers.extend(self.parser(&reference.plugin_ref, &path, parts));
        }
        parsers
    }

    fn parser(&mut self, name: &str, path: &str, parts: &mut Parts) -> Option<Parser> {
        if let Some(parser) = parts.parser(name) {
            return Some(parser);
        }
        if self.names.iter().any(|known| known == name) {
            if !self.has_failed(name) {
                let message = format!(
                    "the plugin \"{name}\" is not a parser plugin; use openai-parser or passthrough-parser"
                );
                self.error(format!("{path}.pluginRef"), message);
            }
            return None;
        }
        let spec = self.basis.registry.find(name);
        if spec.is_some_and(|spec| spec.role == Role::Parser) {
            self.imply(name, parts)?;
            return parts.parser(name);
        }
        if name.ends_with("-parser") && listed(name).is_some() {
            let message = format!(
                "'{name}' is not in effect yet: such bodies are routed without looking into them"
            );
            self.warning(format!("{path}.pluginRef"), message);
            return None;
        }
        let _ = self.check_reference(name, path, "parser ");
        None
    }
}
