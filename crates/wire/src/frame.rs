//! Frames of the replication protocol, to and from the wire. Bounds are checked here, before anything is kept.

use bytes::Bytes;
use hutong_record::{AllianceId, ShopId, proto as record};
use hutong_sync::{Frame, FrontierDigest, GoodbyeReason, HeadPrefix, PeerHead};

use crate::peer::v1 as wire;

/// Why a message is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nothing in it.
    #[error("the message is empty, or of a newer protocol")]
    Empty,
    /// An id, digest or prefix of the wrong length.
    #[error("the frame's {0} has the wrong length")]
    Length(&'static str),
}

/// Reads a frame.
pub fn from_wire(frame: wire::Frame) -> Result<Frame, FrameError> {
    use wire::frame::Frame as Kind;
    Ok(match frame.frame.ok_or(FrameError::Empty)? {
        Kind::Hello(hello) => Frame::Hello {
            versions: hello.versions,
            alliance: AllianceId::try_from(hello.alliance_id.as_ref())
                .map_err(|_| FrameError::Length("alliance"))?,
            digest: FrontierDigest::new(array(&hello.frontier_digest, "digest")?),
        },
        Kind::Frontier(frontier) => {
            Frame::Frontier { heads: heads(frontier.heads)?, complete: frontier.complete }
        }
        Kind::Sketch(sketch) => Frame::Sketch { bucket_count: sketch.bucket_count, bits: sketch.bits },
        Kind::Counterpart(part) => Frame::Counterpart {
            heads: heads(part.heads)?,
            complete: part.complete,
            fill_bytes_max: part.fill_bytes_max,
        },
        Kind::Part(part) => Frame::Part {
            bucket_count: part.bucket_count,
            buckets: part.buckets,
            heads: heads(part.heads)?,
            complete: part.complete,
            rest: FrontierDigest::new(array(&part.rest_digest, "rest digest")?),
            fill_bytes_max: part.fill_bytes_max,
        },
        Kind::Filled(_) => Frame::Filled,
        Kind::Have(have) => Frame::Have { heads: heads(have.heads)? },
        Kind::Want(want) => Frame::Want {
            shop: shop(&want.shop_id)?,
            from_sequence: want.from_sequence,
            body_bytes_max: want.body_bytes_max,
        },
        Kind::Records(records) => Frame::Records {
            shop: shop(&records.shop_id)?,
            runs: records.runs.into_iter().map(|run| run.records).collect(),
            pushed: records.pushed,
        },
        Kind::Alarm(alarm) => {
            Frame::Alarm { shop: shop(&alarm.shop_id)?, sequence: alarm.sequence, proof: alarm.proof }
        }
        Kind::Goodbye(goodbye) => {
            Frame::Goodbye { reason: reason_from_wire(goodbye.reason()), detail: goodbye.detail }
        }
    })
}

/// Writes a frame.
pub fn to_wire(frame: Frame) -> wire::Frame {
    use wire::frame::Frame as Kind;
    let kind = match frame {
        Frame::Hello { versions, alliance, digest } => Kind::Hello(wire::Hello {
            versions,
            alliance_id: copy(alliance.as_bytes()),
            frontier_digest: copy(digest.as_bytes()),
        }),
        Frame::Frontier { heads, complete } => {
            Kind::Frontier(wire::Frontier { heads: log_heads(&heads), complete })
        }
        Frame::Sketch { bucket_count, bits } => Kind::Sketch(wire::Sketch { bucket_count, bits }),
        Frame::Counterpart { heads, complete, fill_bytes_max } => {
            Kind::Counterpart(wire::Counterpart { heads: log_heads(&heads), complete, fill_bytes_max })
        }
        Frame::Part { bucket_count, buckets, heads, complete, rest, fill_bytes_max } => {
            Kind::Part(wire::Part {
                bucket_count,
                buckets,
                heads: log_heads(&heads),
                complete,
                rest_digest: copy(rest.as_bytes()),
                fill_bytes_max,
            })
        }
        Frame::Filled => Kind::Filled(wire::Filled {}),
        Frame::Have { heads } => Kind::Have(wire::Have { heads: log_heads(&heads) }),
        Frame::Want { shop, from_sequence, body_bytes_max } => {
            Kind::Want(wire::Want { shop_id: copy(shop.as_bytes()), from_sequence, body_bytes_max })
        }
        Frame::Records { shop, runs, pushed } => Kind::Records(wire::Records {
            shop_id: copy(shop.as_bytes()),
            runs: runs.into_iter().map(|records| record::Run { records }).collect(),
            pushed,
        }),
        Frame::Alarm { shop, sequence, proof } => {
            Kind::Alarm(wire::Alarm { shop_id: copy(shop.as_bytes()), sequence, proof })
        }
        Frame::Goodbye { reason, detail } => {
            Kind::Goodbye(wire::Goodbye { reason: reason_to_wire(reason).into(), detail })
        }
    };
    wire::Frame { frame: Some(kind) }
}

fn heads(heads: Vec<wire::LogHead>) -> Result<Vec<PeerHead>, FrameError> {
    let head = |head: wire::LogHead| {
        let head_prefix: HeadPrefix = match head.head_prefix.as_ref() {
            [] if head.sequence == 0 => [0; 8],
            bytes => array(bytes, "head prefix")?,
        };
        let (shop, sequence, incarnation) = (shop(&head.shop_id)?, head.sequence, head.incarnation);
        Ok(PeerHead { shop, sequence, head_prefix, incarnation })
    };
    heads.into_iter().map(head).collect()
}

fn log_heads(heads: &[PeerHead]) -> Vec<wire::LogHead> {
    let head = |head: &PeerHead| wire::LogHead {
        shop_id: copy(head.shop.as_bytes()),
        sequence: head.sequence,
        head_prefix: copy(&head.head_prefix),
        incarnation: head.incarnation,
    };
    heads.iter().map(head).collect()
}

fn shop(bytes: &[u8]) -> Result<ShopId, FrameError> {
    ShopId::try_from(bytes).map_err(|_| FrameError::Length("shop"))
}

fn array<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], FrameError> {
    bytes.try_into().map_err(|_| FrameError::Length(what))
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

const fn reason_to_wire(reason: GoodbyeReason) -> wire::GoodbyeReason {
    match reason {
        GoodbyeReason::Shutdown => wire::GoodbyeReason::Shutdown,
        GoodbyeReason::Protocol => wire::GoodbyeReason::Protocol,
        GoodbyeReason::Record => wire::GoodbyeReason::Record,
        GoodbyeReason::Replaced => wire::GoodbyeReason::Replaced,
        GoodbyeReason::Membership => wire::GoodbyeReason::Membership,
        GoodbyeReason::Version => wire::GoodbyeReason::Version,
    }
}

const fn reason_from_wire(reason: wire::GoodbyeReason) -> GoodbyeReason {
    match reason {
        // A reason of a newer protocol says at least that the other side goes.
        wire::GoodbyeReason::Shutdown | wire::GoodbyeReason::Unspecified => GoodbyeReason::Shutdown,
        wire::GoodbyeReason::Protocol => GoodbyeReason::Protocol,
        wire::GoodbyeReason::Record => GoodbyeReason::Record,
        wire::GoodbyeReason::Replaced => GoodbyeReason::Replaced,
        wire::GoodbyeReason::Membership => GoodbyeReason::Membership,
        wire::GoodbyeReason::Version => GoodbyeReason::Version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire() {
        let head = PeerHead { shop: ShopId::new([1; 32]), sequence: 7, head_prefix: [2; 8], incarnation: 3 };
        let record = record::Record { header: copy(b"h"), signature: copy(b"s"), payload: copy(b"p") };
        let frames = [
            Frame::Hello {
                versions: vec![1],
                alliance: AllianceId::new([3; 32]),
                digest: FrontierDigest::new([4; 32]),
            },
            Frame::Frontier { heads: vec![head], complete: true },
            Frame::Sketch { bucket_count: 2, bits: copy(b"abc") },
            Frame::Counterpart { heads: vec![head], complete: false, fill_bytes_max: 1 },
            Frame::Part {
                bucket_count: 16,
                buckets: copy(b"xy"),
                heads: vec![head],
                complete: true,
                rest: FrontierDigest::new([5; 32]),
                fill_bytes_max: 9,
            },
            Frame::Filled,
            Frame::Have { heads: vec![head] },
            Frame::Want { shop: ShopId::new([1; 32]), from_sequence: 8, body_bytes_max: 100 },
            Frame::Records { shop: ShopId::new([1; 32]), runs: vec![vec![record]], pushed: true },
            Frame::Alarm { shop: ShopId::new([4; 32]), sequence: 9, proof: copy(b"proof") },
            Frame::Goodbye { reason: GoodbyeReason::Version, detail: "too old".into() },
        ];
        for frame in frames {
            assert_eq!(from_wire(to_wire(frame.clone())), Ok(frame));
        }
    }

    #[test]
    fn empty_and_malformed_frames_are_refused() {
        assert_eq!(from_wire(wire::Frame { frame: None }), Err(FrameError::Empty));
        let want = wire::Want { shop_id: copy(b"short"), ..Default::default() };
        let frame = wire::Frame { frame: Some(wire::frame::Frame::Want(want)) };
        assert_eq!(from_wire(frame), Err(FrameError::Length("shop")));
    }

    #[test]
    fn a_hello_has_fewer_than_200_bytes() {
        let hello = Frame::Hello {
            versions: hutong_sync::limits::VERSIONS.to_vec(),
            alliance: AllianceId::new([255; 32]),
            digest: FrontierDigest::new([255; 32]),
        };
        assert!(prost::Message::encoded_len(&to_wire(hello)) < 200);
    }
}
