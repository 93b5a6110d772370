//! Metrics functions and second stages.

use super::Parser;
use crate::ast::{Attribute, Compare, GraphMeasure, MetricsFunction, MetricsStage, SecondStage};
use crate::error::ParseError;
use crate::lexer::Token;

const DEFAULT_COMPARE_TOP: i64 = 10;

impl Parser<'_> {
    /// A metrics function with its `by` list, and its depth, if the current token is the name of one.
    pub(super) fn try_metrics_stage(
        &mut self,
    ) -> Result<Option<(MetricsStage, usize)>, ParseError> {
        let Token::Fixed(name) = self.token() else { return Ok(None) };
        let build: fn(Attribute) -> MetricsFunction = match *name {
            "rate" => return self.without_argument(MetricsFunction::Rate).map(Some),
            "count_over_time" => {
                return self.without_argument(MetricsFunction::CountOverTime).map(Some);
            }
            "compare" => return self.compare().map(Some),
            "service_graph" => return self.service_graph().map(Some),
            "quantile_over_time" => {
                |attribute| MetricsFunction::QuantileOverTime { attribute, quantiles: Vec::new() }
            }
            "min_over_time" => MetricsFunction::MinOverTime,
            "max_over_time" => MetricsFunction::MaxOverTime,
            "sum_over_time" => MetricsFunction::SumOverTime,
            "avg_over_time" => MetricsFunction::AvgOverTime,
            "histogram_over_time" => MetricsFunction::HistogramOverTime,
            _ => return Ok(None),
        };
        self.advance();
        self.expect("(")?;
        let mut function = build(self.attribute()?);
        if let MetricsFunction::QuantileOverTime { quantiles, .. } = &mut function {
            self.expect(",")?;
            quantiles.push(self.number()?);
            while self.accept(",") {
                quantiles.push(self.number()?);
            }
        }
        self.expect(")")?;
        let by = self.by_list()?;
        Ok(Some((MetricsStage::Series { function, by }, 1)))
    }

    fn without_argument(
        &mut self,
        function: MetricsFunction,
    ) -> Result<(MetricsStage, usize), ParseError> {
        self.advance();
        self.expect("(")?;
        self.expect(")")?;
        let by = self.by_list()?;
        Ok((MetricsStage::Series { function, by }, 1))
    }

    fn by_list(&mut self) -> Result<Vec<Attribute>, ParseError> {
        if !self.accept("by") {
            return Ok(Vec::new());
        }
        self.expect("(")?;
        let by = self.attributes()?;
        self.expect(")")?;
        Ok(by)
    }

    fn number(&mut self) -> Result<f64, ParseError> {
        let value = match self.token() {
            Token::Int(value) => *value as f64,
            Token::Float(value) => *value,
            _ => return Err(self.unexpected("INTEGER or FLOAT")),
        };
        self.advance();
        Ok(value)
    }

    fn compare(&mut self) -> Result<(MetricsStage, usize), ParseError> {
        self.advance();
        self.expect("(")?;
        let (selection, depth) = self.spanset_filter()?;
        let mut compare = Compare { selection, top_n: DEFAULT_COMPARE_TOP, start: 0, end: 0 };
        if self.accept(",") {
            compare.top_n = self.int()?;
            if self.accept(",") {
                compare.start = self.int()?;
                self.expect(",")?;
                compare.end = self.int()?;
            }
        }
        self.expect(")")?;
        Ok((MetricsStage::Compare(compare), depth + 1))
    }

    fn service_graph(&mut self) -> Result<(MetricsStage, usize), ParseError> {
        self.advance();
        self.expect("(")?;
        if self.accept(")") {
            return Ok((MetricsStage::ServiceGraph(GraphMeasure::All), 1));
        }
        let name = match self.token() {
            Token::Fixed(name) => *name,
            Token::Identifier(name) => &**name,
            _ => "",
        };
        let quantiles = Vec::new();
        let mut measure = match name {
            "calls" => GraphMeasure::Calls,
            "rate" => GraphMeasure::Rate,
            "errors" => GraphMeasure::Errors,
            "client_latency" => GraphMeasure::ClientLatency { quantiles },
            "server_latency" => GraphMeasure::ServerLatency { quantiles },
            _ => {
                let expected = "calls or rate or errors or client_latency or server_latency";
                return Err(self.unexpected(expected));
            }
        };
        self.advance();
        if let GraphMeasure::ClientLatency { quantiles }
        | GraphMeasure::ServerLatency { quantiles } = &mut measure
        {
            while self.accept(",") {
                quantiles.push(self.number()?);
            }
        }
        self.expect(")")?;
        Ok((MetricsStage::ServiceGraph(measure), 1))
    }

    /// `topk(n)` or `bottomk(n)`.
    pub(super) fn limit_stage(&mut self) -> Result<SecondStage, ParseError> {
        let build: fn(i64) -> SecondStage = match self.token() {
            Token::Fixed("topk") => SecondStage::TopK,
            Token::Fixed("bottomk") => SecondStage::BottomK,
            _ => return Err(self.unexpected("topk or bottomk")),
        };
        self.advance();
        self.expect("(")?;
        let limit = self.int()?;
        self.expect(")")?;
        Ok(build(limit))
    }
}
