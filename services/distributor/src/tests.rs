mod doubles;
mod limits;
mod quorum;
mod replicas;
mod single;
