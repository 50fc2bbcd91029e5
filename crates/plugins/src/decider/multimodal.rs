//! Has images, videos and recordings encoded on other endpoints.
//!
//! # When to use
//! As `deciders.encode` of `disagg-profile-handler`, where engines of their own encode what is not text.
//!
//! # Rule
//! Yes, if a message has an image, a video or a recording in it.
//!
//! # Reads
//! The prompt.
//!
//! # Example
//! ```yaml
//! - type: always-disagg-multimodal-decider
//! ```
//!
//! # Limits
//! Looks at the messages of chats alone, and at whether there is something, not at how much.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Decider};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "always-disagg-multimodal-decider",
    aliases: &[],
    role: Role::Decider,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("multimodal.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct Multimodal;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Decider(Box::new(Multimodal)))
}

impl Decider for Multimodal {
    fn decide(&self, ctx: &Ctx<'_>, _: usize) -> (bool, &'static str) {
        match ctx.request.prompt {
            Some(prompt) if prompt.0.multimodal() => (true, "not only text"),
            _ => (false, "only text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;

    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, build as built, pool};
    use pointsman_core::model::prompt::{Form, Piece, Prompt, PromptView};

    struct Picture(bool);

    impl PromptView for Picture {
        fn walk(&self, _: Form, _: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {}

        fn multimodal(&self) -> bool {
            self.0
        }
    }

    #[test]
    fn says_what_the_prompt_says() {
        let Ok(Built::Decider(decider)) = built(&SPEC, "{}", Generation::G2) else {
            panic!("refused")
        };
        let pool = pool("a\n");
        let mut scene = Scene::new(&pool);
        assert!(!decider.decide(&scene.ctx(), 0).0);
        let (text, picture) = (Picture(false), Picture(true));
        scene.request.prompt = Some(Prompt(&text));
        assert!(!decider.decide(&scene.ctx(), 0).0);
        scene.request.prompt = Some(Prompt(&picture));
        assert!(decider.decide(&scene.ctx(), 0).0);
    }
}
