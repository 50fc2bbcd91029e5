//! How requests come to a fleet: from a shape, from a trace, or as many as it can bear.

use pointsman_core::time::Tick;

use crate::fleet::Fleet;
use crate::fleet::arrival::Arrival;
use crate::fleet::report::Report;
use crate::fleet::trace::{BLOCK_TOKENS, Trace};
use crate::fleet::workload::{Stream, Workload};

impl Fleet {
    /// Lets `workload` arrive and runs until its last request has ended. A further run goes on with the
    /// caches, gauges and the clock as they are.
    ///
    /// # Panics
    /// An invariant does not hold: a defect of the engine or of the router.
    pub fn run(&mut self, workload: &Workload) -> Report {
        let size = self.block_size;
        self.let_arrive(workload.requests, |_, stream, arrival| {
            arrival.at = arrival.at + stream.gap(workload.rate);
            arrival.prompt_tokens = workload.prompt_tokens;
            arrival.output_tokens = workload.output_tokens;
            arrival.max_output_tokens = workload.output_tokens;
            stream.prompt(workload, size, &mut arrival.ids);
            arrival.hash();
        })
    }

    /// The same with the arrivals of `trace`, `rate` of them per second on average.
    ///
    /// # Panics
    /// As [`Self::run`], and if the engines' blocks are not those of the trace.
    pub fn play(&mut self, trace: &Trace, rate: f64) -> Report {
        assert_eq!(
            self.block_size, BLOCK_TOKENS,
            "a trace has blocks of its own"
        );
        let began = self.now;
        let asks = trace.asks();
        self.let_arrive(asks.len() as u64, |number, _, arrival| {
            let ask = &asks[number];
            arrival.at = Trace::arrival(ask, rate, began);
            arrival.take(trace, ask);
        })
    }

    /// Requests per second that the fleet bears: those of `trace` come one by one, each as soon as fewer than
    /// `under_way` are under way, whatever their times. The first and the last tenth do not count.
    ///
    /// # Panics
    /// As [`Self::play`].
    pub fn sustain(&mut self, trace: &Trace, under_way: u64) -> f64 {
        assert_eq!(
            self.block_size, BLOCK_TOKENS,
            "a trace has blocks of its own"
        );
        self.clear_totals();
        let asks = trace.asks();
        let (from, to) = (asks.len() / 10, asks.len() * 9 / 10);
        let (mut began, mut ended) = (self.now, self.now);
        let mut arrival = Arrival::default();
        for (number, ask) in asks.iter().enumerate() {
            while self.slots.total_in_flight() >= under_way.max(1) {
                let Some((at, _)) = self.agenda.first() else {
                    break;
                };
                self.let_pass(at);
            }
            if number == from {
                began = self.now;
            } else if number == to {
                ended = self.now;
            }
            arrival.at = self.now;
            arrival.take(trace, ask);
            self.arrive(&arrival);
        }
        self.let_pass(Tick(u64::MAX));
        self.check_nothing_left(asks.len() as u64);
        (to - from) as f64 / ended.since(began).as_secs_f64()
    }

    /// Runs until `requests` requests, each as `next` says, have arrived and ended.
    fn let_arrive(
        &mut self,
        requests: u64,
        mut next: impl FnMut(usize, &mut Stream, &mut Arrival),
    ) -> Report {
        let began = self.now;
        self.clear_totals();
        let mut arrival = Arrival {
            at: began,
            ..Arrival::default()
        };
        for number in 0..requests as usize {
            next(number, &mut self.stream, &mut arrival);
            self.let_pass(arrival.at);
            self.now = arrival.at;
            self.arrive(&arrival);
        }
        self.let_pass(Tick(u64::MAX));
        self.check_nothing_left(requests);
        self.report(requests, self.now.since(began))
    }
}
