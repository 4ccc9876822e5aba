//! Pax records: `<length> <key>=<value>\n`, the length counting itself.

/// Records of one header, written sorted by key.
#[derive(Default)]
pub struct Records {
    list: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Records {
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.list.push((key.to_vec(), value.to_vec()));
    }

    /// The body of the header, sorted; the records are gone afterwards.
    pub fn take(&mut self) -> Vec<u8> {
        if self.list.is_empty() {
            return Vec::new();
        }
        self.list.sort_unstable();
        let mut body = Vec::with_capacity(64);
        for (key, value) in self.list.drain(..) {
            let length = record_length(key.len() + value.len() + 3);
            body.extend_from_slice(length.to_string().as_bytes());
            body.push(b' ');
            body.extend_from_slice(&key);
            body.push(b'=');
            body.extend_from_slice(&value);
            body.push(b'\n');
        }
        body
    }
}

/// Length of a record whose other bytes (space, `=` and newline included) are `rest`.
fn record_length(rest: usize) -> usize {
    let mut length = rest + 1;
    loop {
        let next = rest + digits(length);
        if next == length {
            return length;
        }
        length = next;
    }
}

fn digits(mut n: usize) -> usize {
    let mut count = 1;
    while n >= 10 {
        n /= 10;
        count += 1;
    }
    count
}

/// Key and value.
pub type Record<'b> = (&'b [u8], &'b [u8]);

/// The records of a header's body, in order. The error says what is wrong; nothing is guessed.
pub fn parse(mut body: &[u8]) -> Result<Vec<Record<'_>>, &'static str> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let space = body.iter().take(12).position(|&b| b == b' ').ok_or("pax record without a length")?;
        let number = &body[..space];
        if number.is_empty() || !number.iter().all(u8::is_ascii_digit) || number[0] == b'0' {
            return Err("pax record with a bad length");
        }
        let length = std::str::from_utf8(number).ok().and_then(|n| n.parse::<usize>().ok());
        let length = length.filter(|&n| n > space + 1 && n <= body.len()).ok_or("pax record with a wrong length")?;
        let record = &body[space + 1..length];
        let record = record.strip_suffix(b"\n").ok_or("pax record without its newline")?;
        let equals = record.iter().position(|&b| b == b'=').ok_or("pax record without `=`")?;
        if equals == 0 {
            return Err("pax record with an empty key");
        }
        records.push((&record[..equals], &record[equals + 1..]));
        body = &body[length..];
    }
    Ok(records)
}

/// Attribute names in keys: `=` would end the key.
pub fn escape_key(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for &b in name {
        match b {
            b'%' => out.extend_from_slice(b"%25"),
            b'=' => out.extend_from_slice(b"%3D"),
            b => out.push(b),
        }
    }
    out
}

/// The inverse of [`escape_key`]; other percent signs stay.
pub fn unescape_key(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key;
    while let Some((&b, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"%25") {
            out.push(b'%');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix(b"%3D") {
            out.push(b'=');
            rest = tail;
        } else {
            out.push(b);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        for n in 0..2000 {
            let mut records = Records::default();
            records.add(b"k", &vec![b'v'; n]);
            let body = records.take();
            assert_eq!(parse(&body).unwrap(), vec![(&b"k"[..], &vec![b'v'; n][..])]);
        }
    }

    #[test]
    fn bad_records() {
        for bad in [
            &b"9 a=b\n"[..],
            b"6 a=bx",
            b"5 ab\n",
            b"5 =b\n",
            b"+6 a=b\n",
            b"06 a=b\n",
            b" a=b\n",
            b"a=b\n",
            b"0 \n",
            b"99999999999999999999 a=b\n",
            b"6 a=b\n1",
            b"6 a=b\n\0\0",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse(b"6 a=b\n"), Ok(vec![(&b"a"[..], &b"b"[..])]));
    }
}
