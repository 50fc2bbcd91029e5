//! A decision in words: its table as text, and what became of the request.
pub(crate) mod from_log;
pub(crate) mod story;
pub(crate) mod what_if;
