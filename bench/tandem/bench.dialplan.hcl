dialplan "bench" {
  format   = 1
  domains  = ["bench.test"]
  timezone = "Europe/London"
  country  = "44"
}
