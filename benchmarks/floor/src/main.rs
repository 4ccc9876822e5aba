//! The floor: only the system calls without which a session cannot become a `.tar.gz`, and the compression.
//!
//! For every direct child directory of ROOT, in this order: list it (one `getdents64` a directory), open, `fstat`
//! and read each file once, compress the tar stream in memory, create, write and rename the archive, unlink every
//! file, remove every directory. There is no digest, no sync, no reading back, no second look at the source,
//! no lock and no undo: a crash, a writer or a full disk loses data. It exists to tell how much of the time of a
//! safe archiver is the price of safety. Run it on copies only.
//!
//! The tar stream is the one of `docs/archive-format.md` for sessions of directories, files and symlinks with names
//! of at most 100 bytes, so that streams can be compared byte by byte. Anything else stops the program.
//!
//! `floor ROOT [--jobs N] [--timings]` prints one line of JSON.

mod session;
mod sys;
mod tar;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Sessions a thread takes at a time: enough to make the shared counter free.
const TAKE: usize = 16;

fn main() {
    let mut root = None;
    let mut jobs = 2;
    let mut timings = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--jobs" => {
                jobs = args
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or_else(|| usage())
            }
            "--timings" => timings = true,
            _ if root.is_none() && !arg.starts_with('-') => root = Some(arg),
            _ => usage(),
        }
    }
    let root = sys::open_root(&root.unwrap_or_else(|| usage()));
    let start = Instant::now();
    let names = session::children(root);
    let listed = start.elapsed();
    let names_of = tar::Owners::lookup();
    let next = AtomicUsize::new(0);
    let total = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| {
                    let mut worker = session::Worker::new(root, &names_of, timings);
                    loop {
                        let first = next.fetch_add(TAKE, Ordering::Relaxed);
                        if first >= names.len() {
                            break worker.spent;
                        }
                        for name in &names[first..names.len().min(first + TAKE)] {
                            worker.archive(name);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().fold(session::Spent::default(), |sum, t| {
            sum.plus(t.join().expect("worker"))
        })
    });
    let wall = start.elapsed().as_secs_f64();
    println!(
        "{{\"sessions\": {}, \"seconds\": {wall:.6}, \"list_root\": {:.6}, \"thread_seconds\": {{\"read\": {:.6}, \
         \"compress\": {:.6}, \"write\": {:.6}, \"remove\": {:.6}}}}}",
        names.len(),
        listed.as_secs_f64(),
        total.read.as_secs_f64(),
        total.compress.as_secs_f64(),
        total.write.as_secs_f64(),
        total.remove.as_secs_f64()
    );
}

fn usage() -> ! {
    eprintln!("usage: floor ROOT [--jobs N] [--timings]   (removes the sessions below ROOT: copies only)");
    std::process::exit(2)
}
