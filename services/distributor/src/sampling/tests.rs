mod asked;
mod leader;
