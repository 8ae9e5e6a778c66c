"""What both plugins need of Dify: its types (codec), its plugin process, HTTP from there."""
