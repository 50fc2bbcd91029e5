//! What `pointsman scan` adds to the crate `topo`: the cluster as a source, files to write, the table.

pub(crate) mod cluster;
pub(crate) mod save;
pub(crate) mod table;
