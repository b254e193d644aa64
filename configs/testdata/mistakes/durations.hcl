sip {
  timer_c         = "60s"
  read_timeout    = "10 seconds"
  session_expires = "10s"
}
limits {
  register_min  = "1d"
  auth_failures = "ten a minute"
  media_silence = ""
}
