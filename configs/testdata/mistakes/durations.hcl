sip {
  timer_c         = "60s"
  read_timeout    = "10 seconds"
  idle_timeout    = "1ms"
}
limits {
  register_min  = "1d"
  auth_failures = "ten a minute"
  media_silence = ""
}
