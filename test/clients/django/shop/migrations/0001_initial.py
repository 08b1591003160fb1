"""The table, and the view over it by derive.create_view()."""
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            name="Sale",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("region", models.TextField()),
                ("amount", models.DecimalField(max_digits=10, decimal_places=2))]),
        migrations.CreateModel(
            name="SalesByRegion",
            fields=[
                ("region", models.TextField(primary_key=True, serialize=False)),
                ("sales", models.BigIntegerField()),
                ("total", models.DecimalField(max_digits=20, decimal_places=2))],
            options={"managed": False, "db_table": "sales_by_region"}),
        migrations.RunSQL(
            "SELECT derive.create_view('sales_by_region', 'SELECT region, count(*) AS sales, sum(amount) AS total FROM shop_sale GROUP BY region')",
            "DROP MATERIALIZED VIEW sales_by_region")]
