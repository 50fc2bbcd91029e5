//! How many tokens an image or a video is expected to take, where no tokenizer is asked.
//!
//! | part | tokens |
//! |---|---|
//! | image | width × height / factor, or a fixed number |
//! | video | frames × tokens per frame, at most so many |
//! | frames, sampled | duration × rate, within bounds, divided by how many are merged |
//! | frames, strided | duration × the source's rate / stride, within bounds |
//!
//! A part takes at least one token.

use crate::model::headers::Headers;

/// Headers by which a client tells of its video what its body does not say.
const DURATION: &str = "x-llm-d-video-duration-seconds";
const RESOLUTION: &str = "x-llm-d-video-resolution";
const RATE: &str = "x-llm-d-video-fps";

/// Pixels for which a token is spent.
pub const FACTOR: u32 = 1024;

/// Width and height.
pub type Size = (u32, u32);

/// The size of a picture that does not say.
pub const SIZE: Size = (640, 360);

/// The rules for all parts.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct AssetRules {
    /// Images.
    pub image: PictureRule,
    /// Videos.
    pub video: VideoRule,
}

/// The rule for one picture.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PictureRule {
    /// Always so many, whatever its size.
    pub fixed: Option<u32>,
    /// Its size where it does not say.
    pub size: Size,
    /// Pixels per token.
    pub factor: u32,
}

impl Default for PictureRule {
    fn default() -> Self {
        Self {
            fixed: None,
            size: SIZE,
            factor: FACTOR,
        }
    }
}

impl PictureRule {
    /// Tokens of a picture of this size, or of one that does not say.
    pub fn tokens(&self, size: Option<Size>) -> u64 {
        let (width, height) = size.unwrap_or(self.size);
        let pixels = u64::from(width) * u64::from(height);
        let counted = pixels / u64::from(self.factor.max(1));
        self.fixed.map_or(counted, u64::from).max(1)
    }
}

/// Which frames of a video are looked at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FrameRule {
    /// So many a second, of which some are merged into one.
    Sampled {
        /// Frames a second.
        rate: f64,
        /// How many are merged; 0 and 1 merge none.
        merged: u32,
    },
    /// Every so manieth of the source.
    Strided {
        /// Frames a second in the source, where the request does not say.
        rate: f64,
        /// Of so many one is looked at.
        stride: u32,
    },
}

/// The rule for videos.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct VideoRule {
    /// One frame.
    pub frame: PictureRule,
    /// Which frames.
    pub frames: FrameRule,
    /// Fewest and most frames; 0: no bound.
    pub bounds: (u32, u32),
    /// Length in seconds, where the request does not say.
    pub duration: f64,
    /// Most tokens; 0: no bound.
    pub most: u32,
}

impl Default for VideoRule {
    fn default() -> Self {
        Self {
            frame: PictureRule::default(),
            frames: FrameRule::Sampled {
                rate: 2.0,
                merged: 0,
            },
            bounds: (0, 0),
            duration: 10.0,
            most: 0,
        }
    }
}

impl VideoRule {
    fn frame_count(&self) -> u64 {
        let (rate, divided) = match self.frames {
            FrameRule::Sampled { rate, .. } => (rate, 1),
            FrameRule::Strided { rate, stride } => (rate, stride),
        };
        let mut count = (self.duration * rate) as u64 / u64::from(divided.max(1));
        let (fewest, most) = self.bounds;
        count = count.max(fewest.into());
        if most > 0 {
            count = count.min(most.into());
        }
        match self.frames {
            FrameRule::Sampled { merged, .. } if merged > 1 => count / u64::from(merged),
            _ => count,
        }
    }

    /// Tokens of a video.
    pub fn tokens(&self) -> u64 {
        let tokens = self.frame_count().saturating_mul(self.frame.tokens(None));
        match self.most {
            0 => tokens.max(1),
            most => tokens.clamp(1, most.into()),
        }
    }
}

impl AssetRules {
    /// The same, with what a request's headers say of its videos.
    #[must_use]
    pub fn told_by(mut self, headers: Headers<'_>) -> Self {
        let number = |name: &str| {
            let number: f64 = headers.get(name)?.trim().parse().ok()?;
            (number > 0.0 && number.is_finite()).then_some(number)
        };
        if let Some(seconds) = number(DURATION) {
            self.video.duration = seconds;
        }
        if let (Some(told), FrameRule::Strided { rate, .. }) =
            (number(RATE), &mut self.video.frames)
        {
            *rate = told;
        }
        let size = headers.get(RESOLUTION).and_then(|text| {
            let (width, height) = text.trim().split_once(['x', 'X'])?;
            let (width, height) = (width.trim().parse().ok()?, height.trim().parse().ok()?);
            (width > 0 && height > 0).then_some((width, height))
        });
        if let Some(size) = size {
            self.video.frame.size = size;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_count_by_size_or_as_told() {
        let rule = PictureRule::default();
        assert_eq!(rule.tokens(None), 225);
        assert_eq!(rule.tokens(Some((2048, 1024))), 2048);
        assert_eq!(rule.tokens(Some((1, 1))), 1);
        let fixed = PictureRule {
            fixed: Some(256),
            ..rule
        };
        assert_eq!(fixed.tokens(Some((2048, 1024))), 256);
    }

    #[test]
    fn videos_count_by_their_frames() {
        let rule = VideoRule::default();
        assert_eq!(rule.tokens(), 20 * 225);
        let sampled = VideoRule {
            frames: FrameRule::Sampled {
                rate: 2.0,
                merged: 2,
            },
            bounds: (4, 16),
            ..rule
        };
        assert_eq!(sampled.tokens(), 8 * 225);
        let strided = VideoRule {
            frame: PictureRule {
                fixed: Some(66),
                ..PictureRule::default()
            },
            frames: FrameRule::Strided {
                rate: 24.0,
                stride: 8,
            },
            most: 1000,
            ..rule
        };
        assert_eq!(strided.tokens(), 1000);
        assert_eq!(VideoRule { most: 0, ..strided }.tokens(), 30 * 66);
        let short = VideoRule {
            duration: 0.0,
            ..rule
        };
        assert_eq!(short.tokens(), 1);
    }

    #[test]
    fn a_request_may_tell_of_its_videos() {
        let list: &[(&str, &str)] = &[(DURATION, "4.5"), (RESOLUTION, "1280x720"), (RATE, "30")];
        let told = AssetRules::default().told_by(Headers::of(&list)).video;
        assert_eq!(told.tokens(), 9 * 900);
        let nonsense: &[(&str, &str)] = &[(DURATION, "-1"), (RESOLUTION, "0x9"), (RATE, "fast")];
        let rules = AssetRules::default();
        assert_eq!(rules.told_by(Headers::of(&nonsense)), rules);
        let mut strided = rules;
        strided.video.frames = FrameRule::Strided {
            rate: 24.0,
            stride: 3,
        };
        assert_eq!(strided.told_by(Headers::of(&list)).video.tokens(), 45 * 900);
    }
}
