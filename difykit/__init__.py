"""Code for Dify that both plugins use: its types (codec), the plugin process, HTTP."""
