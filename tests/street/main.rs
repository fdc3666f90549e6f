//! Nodes as processes, with real gRPC between them: what shops, tills and strangers can do to them from outside.

#[cfg(test)]
mod bad_calls;
#[cfg(test)]
mod bad_frames;
#[cfg(test)]
mod bad_streams;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod bundle;
#[cfg(test)]
mod continuing;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod door;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod federation;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod govern;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod import;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod life;
#[cfg(test)]
mod masks;
#[cfg(test)]
mod modes;
#[cfg(test)]
mod operate;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod scrub;
#[cfg(test)]
mod settlement;
#[cfg(test)]
mod through;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod tour;
#[cfg(test)]
mod trade;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod watch;
#[cfg(test)]
mod webhooks;
