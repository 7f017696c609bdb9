//! As much of XML as configuration files need: elements, attributes and text. No entities but the five, no files within files.

pub enum Token<'a> {
    Start { name: &'a str, attributes: Vec<(&'a str, String)>, empty: bool },
    End(&'a str),
    Text(String),
}

/// A file as text: UTF-8, or UTF-16 with its mark.
pub fn text(bytes: &[u8]) -> String {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.as_chunks::<2>().0.iter().map(|bytes| unit(*bytes));
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        bytes => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The tokens of a text, up to its end or the first error.
pub struct Tokens<'a> {
    rest: &'a str,
    failed: bool,
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { rest: text.trim_start_matches('\u{feff}'), failed: false }
    }

    /// What stands before a mark, which is stepped over.
    fn up_to(&mut self, mark: &str) -> Result<&'a str, &'static str> {
        let (before, after) = self.rest.split_once(mark).ok_or("the file ends within its markup")?;
        self.rest = after;
        Ok(before)
    }

    fn token(&mut self) -> Result<Option<Token<'a>>, &'static str> {
        loop {
            if let Some(rest) = self.rest.strip_prefix("<!--") {
                self.rest = rest;
                self.up_to("-->")?;
            } else if let Some(rest) = self.rest.strip_prefix("<![CDATA[") {
                self.rest = rest;
                return Ok(Some(Token::Text(self.up_to("]]>")?.to_owned())));
            } else if let Some(rest) = self.rest.strip_prefix("<?") {
                self.rest = rest;
                self.up_to("?>")?;
            } else if let Some(rest) = self.rest.strip_prefix("<!") {
                self.rest = rest;
                self.up_to(">")?;
            } else if let Some(rest) = self.rest.strip_prefix("</") {
                self.rest = rest;
                return Ok(Some(Token::End(self.up_to(">")?.trim())));
            } else if let Some(rest) = self.rest.strip_prefix('<') {
                self.rest = rest;
                return self.start().map(Some);
            } else if self.rest.is_empty() {
                return Ok(None);
            } else {
                let end = self.rest.find('<').unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Ok(Some(Token::Text(plain(text))));
            }
        }
    }

    fn start(&mut self) -> Result<Token<'a>, &'static str> {
        let end = self.rest.find(|c: char| c.is_whitespace() || c == '>' || c == '/').ok_or("the file ends within an element")?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let mut attributes = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix("/>") {
                self.rest = rest;
                return Ok(Token::Start { name, attributes, empty: true });
            }
            if let Some(rest) = self.rest.strip_prefix('>') {
                self.rest = rest;
                return Ok(Token::Start { name, attributes, empty: false });
            }
            let name = self.up_to("=")?.trim();
            self.rest = self.rest.trim_start();
            let quote = if self.rest.starts_with('\'') { "'" } else { "\"" };
            self.rest = self.rest.strip_prefix(quote).ok_or("an attribute without quotes")?;
            attributes.push((name, plain(self.up_to(quote)?)));
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<Token<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let token = self.token().transpose();
        self.failed = matches!(token, Some(Err(_)));
        token
    }
}

/// Text with its entities resolved; what is none stays as it stands.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        shown.push_str(before);
        let entity = after.split_once(';').and_then(|(name, after)| Some((letter(name)?, after)));
        match entity {
            Some((letter, after)) => {
                shown.push(letter);
                rest = after;
            }
            None => {
                shown.push('&');
                rest = after;
            }
        }
    }
    shown.push_str(rest);
    shown
}

fn letter(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(number.ok()?)
        }
    }
}
