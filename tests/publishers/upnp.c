/* Stands in for libgupnp-igd, which libnice loads for UPnP (not used here) and which brings libsoup 3 along: Debian's
   whip-client uses libsoup 2, and a process that holds both is aborted.

       cc -shared -nostdlib -fPIC -Wl,-soname,libgupnp-igd-1.0.so.4 -o DIRECTORY/libgupnp-igd-1.0.so.4 upnp.c
       LD_LIBRARY_PATH=DIRECTORY whip-client ... */
void *gupnp_simple_igd_thread_new(void) { return 0; }
unsigned long gupnp_simple_igd_get_type(void) { return 80; } /* G_TYPE_OBJECT */
void gupnp_simple_igd_add_port(void) {}
void gupnp_simple_igd_remove_port_local(void) {}
