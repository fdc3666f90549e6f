//! The one way to write a message.

use bytes::Buf;
use prost::Message;

/// Reads a message that has one form only: None unless these are the very bytes that we would write for it, so that nobody
/// can add to what others have signed, and all read the same.
pub fn canonical<M: Message + Default>(bytes: impl Buf + AsRef<[u8]> + Clone) -> Option<M> {
    let message = M::decode(bytes.clone()).ok()?;
    (message.encode_to_vec() == bytes.as_ref()).then_some(message)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::Request;

    #[test]
    fn other_bytes_for_the_same_message_are_refused() {
        let request = Request { id: "a".into(), hash: Bytes::from_static(&[7; 32]) };
        let bytes = request.encode_to_vec();
        assert_eq!(canonical(bytes.as_slice()), Some(request.clone()));
        assert_eq!(canonical(Bytes::from(bytes.clone())), Some(request));
        let with_more = [bytes.as_slice(), &[0x98, 0x06, 0x01]].concat();
        assert_eq!(canonical::<Request>(with_more.as_slice()), None, "a field that nobody knows");
        let twice = [&[0x0a, 0x01, b'b'], bytes.as_slice()].concat();
        assert_eq!(canonical::<Request>(twice.as_slice()), None, "a field that comes twice");
        assert_eq!(canonical::<Request>(&bytes[..bytes.len() - 1]), None, "cut short");
    }
}
