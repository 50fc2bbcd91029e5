//! Unpacking of messages that a gateway compressed, up to a bound.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::extproc::frame_fault::FrameFault;

/// The message, unless it unpacks to more than `most` bytes.
///
/// # Errors
/// It is no gzip, or too large.
pub(crate) fn unpack(packed: &[u8], most: usize) -> Result<Bytes, FrameFault> {
    let mut plain = Vec::with_capacity(packed.len().saturating_mul(4).min(most));
    MultiGzDecoder::new(packed)
        .take(most as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|_| FrameFault::Garbled)?;
    if plain.len() > most {
        return Err(FrameFault::TooLarge {
            size: plain.len(),
            most,
        });
    }
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    #[test]
    fn a_message_is_unpacked_up_to_its_bound() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&[b'x'; 1000]).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(unpack(&packed, 1000).unwrap(), vec![b'x'; 1000]);
        assert!(matches!(
            unpack(&packed, 999),
            Err(FrameFault::TooLarge { .. })
        ));
        assert_eq!(unpack(b"plain", 999), Err(FrameFault::Garbled));
    }
}
