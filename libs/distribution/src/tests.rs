pub(crate) mod doubles;
mod limits;
mod quorum;
mod replicas;
mod ruled;
mod sampled;
mod single;
