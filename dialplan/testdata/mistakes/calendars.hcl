dialplan "acme" {}
calendar "a" {
  open     = ["mon-fry 09:00-17:30", "mon 9-17", "mon 09:00-09:00", "2026-02-30", "mon tue 09:00-10:00", ""]
  closed   = ["2026-12-25..2026-12-24", "2020-01-01..2040-01-01", "25.12."]
  holidays = "Germany"
  timezone = "London"
}
calendar "a" { open = ["mon"] }
calendar "b c" { open = ["mon"] }
