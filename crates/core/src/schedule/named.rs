//! A plugin with the names it goes by.

use std::sync::Arc;

/// A plugin with the names it goes by.
pub struct Named<T: ?Sized> {
    /// Name in the configuration (defaults to the type).
    pub name: Arc<str>,
    /// Type string.
    pub kind: &'static str,
    /// The plugin.
    pub plugin: Arc<T>,
}

impl<T: ?Sized> Clone for Named<T> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            kind: self.kind,
            plugin: Arc::clone(&self.plugin),
        }
    }
}
